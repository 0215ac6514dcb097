#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "base/random.h"

namespace qround {
namespace {

void require(bool valid, const char* option, const char* expected, double actual) {
  if (valid) return;
  throw Error(fmt::format("bad value of {}", option))
      .expected(expected)
      .actual(format_double(actual));
}

}  // namespace

void SamplingOptions::validate() const {
  require(temperature >= 0 && std::isfinite(temperature), "temperature", "0 or more", temperature);
  require(top_k >= 0, "top-k", "0 or more", static_cast<double>(top_k));
  require(top_p > 0 && top_p <= 1, "top-p", "more than 0, at most 1", top_p);
  require(min_p >= 0 && min_p <= 1, "min-p", "0 to 1", min_p);
  require(repetition_penalty > 0 && std::isfinite(repetition_penalty), "repetition penalty",
          "more than 0", repetition_penalty);
  require(std::abs(presence_penalty) <= 2, "presence penalty", "-2 to 2", presence_penalty);
  require(std::abs(frequency_penalty) <= 2, "frequency penalty", "-2 to 2", frequency_penalty);
}

Sampler::Sampler(const SamplingOptions& options, std::span<const int32_t> prompt)
    : options_(options) {
  options_.validate();
  for (const int32_t token : prompt) seen_.try_emplace(token);
}

int32_t Sampler::sample(std::span<float> logits) {
  penalize(logits);
  const int32_t token =
      options_.temperature == 0
          ? static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())
          : draw(logits);
  ++seen_[token].in_output;
  return token;
}

void Sampler::penalize(std::span<float> logits) const {
  if (options_.repetition_penalty == 1 && options_.presence_penalty == 0 &&
      options_.frequency_penalty == 0)
    return;
  for (const auto& [token, seen] : seen_) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    if (seen.in_output > 0) {
      logit -= options_.presence_penalty +
               options_.frequency_penalty * static_cast<float>(seen.in_output);
    }
  }
}

int32_t Sampler::draw(std::span<const float> logits) {
  candidates_.clear();
  for (size_t token = 0; token < logits.size(); ++token) {
    candidates_.push_back({logits[token], static_cast<int32_t>(token)});
  }
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  size_t kept = candidates_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(kept),
                    candidates_.end(), likelier);

  probabilities_.resize(kept);
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    const double scaled =
        (double{candidates_[i].logit} - candidates_[0].logit) / options_.temperature;
    probabilities_[i] = std::exp(scaled);
    total += probabilities_[i];
  }
  size_t end = 0;  // the nucleus: likeliest first until top-p is reached
  double reached = 0;
  while (end < kept && reached < options_.top_p * total) reached += probabilities_[end++];
  while (end > 1 && probabilities_[end - 1] < options_.min_p * probabilities_[0])
    reached -= probabilities_[--end];

  double remaining = random_unit(options_.seed, 0, drawn_++) * reached;
  for (size_t i = 0; i + 1 < end; ++i) {
    remaining -= probabilities_[i];
    if (remaining < 0) return candidates_[i].token;
  }
  return candidates_[end - 1].token;
}

}  // namespace qround
