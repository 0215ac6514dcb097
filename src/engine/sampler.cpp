#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

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

Sampler::Sampler(const SamplingOptions& options, std::span<const int32_t> prompt,
                 std::vector<LogitBias> biases)
    : options_(options), biases_(std::move(biases)) {
  options_.validate();
  if (!penalizes()) return;
  for (const int32_t token : prompt) seen(token);
}

bool Sampler::penalizes() const {
  return options_.repetition_penalty != 1 || options_.presence_penalty != 0 ||
         options_.frequency_penalty != 0;
}

void Sampler::reserve(size_t vocab, size_t outputs) {
  if (penalizes()) {
    place_of_.resize(std::max(place_of_.size(), vocab), -1);
    seen_.reserve(seen_.size() + std::min(outputs, vocab));
  }
  if (options_.temperature == 0) return;
  candidates_.reserve(vocab);
  probabilities_.reserve(vocab);
}

Sampler::Seen& Sampler::seen(int32_t token) {
  const auto index = static_cast<size_t>(token);
  if (index >= place_of_.size()) place_of_.resize(index + 1, -1);
  if (place_of_[index] < 0) {
    place_of_[index] = static_cast<int32_t>(seen_.size());
    seen_.push_back({.token = token});
  }
  return seen_[static_cast<size_t>(place_of_[index])];
}

int32_t Sampler::sample(std::span<float> logits) {
  adjust(logits);
  return choose(logits);
}

void Sampler::adjust(std::span<float> logits) {
  for (const LogitBias& of_token : biases_) {
    const auto index = static_cast<size_t>(of_token.token);
    if (index < logits.size()) logits[index] += of_token.bias;
  }
  for (const Seen& one : seen_) {
    if (static_cast<size_t>(one.token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(one.token)];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    if (one.in_output > 0) {
      logit -= options_.presence_penalty +
               options_.frequency_penalty * static_cast<float>(one.in_output);
    }
  }
}

int32_t Sampler::choose(std::span<const float> logits) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (!std::isfinite(*largest)) {
    throw Error("no token can be chosen")
        .expected("a finite largest logit")
        .actual(format_double(*largest));
  }
  const int32_t token =
      options_.temperature == 0 ? static_cast<int32_t>(largest - logits.begin()) : draw(logits);
  if (penalizes()) ++seen(token).in_output;
  return token;
}

// Brings the likeliest `count` candidates to the front, in order.
void Sampler::sort_candidates(size_t count) {
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  const auto begin = candidates_.begin();
  count = std::min(count, candidates_.size());
  if (count <= sorted_) return;
  std::partial_sort(begin + static_cast<std::ptrdiff_t>(sorted_),
                    begin + static_cast<std::ptrdiff_t>(count), candidates_.end(), likelier);
  sorted_ = count;
}

int32_t Sampler::draw(std::span<const float> logits) {
  candidates_.clear();
  for (size_t token = 0; token < logits.size(); ++token)
    candidates_.push_back({logits[token], static_cast<int32_t>(token)});
  sorted_ = 0;
  constexpr size_t kFirstSorted = 64;  // mostly enough; sorting a whole vocabulary takes long
  size_t kept = candidates_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<size_t>(options_.top_k));
  sort_candidates(options_.top_k > 0 ? kept : kFirstSorted);
  const float largest = candidates_[0].logit;
  const auto probability = [&](size_t place) {  // not normalized
    return std::exp((double{candidates_[place].logit} - largest) / options_.temperature);
  };
  double total = 0;
  for (size_t place = 0; place < kept; ++place) total += probability(place);

  // The nucleus: likeliest first until top-p is reached, without what min-p drops.
  probabilities_.clear();
  double reached = 0;
  while (probabilities_.size() < kept && reached < options_.top_p * total) {
    const size_t place = probabilities_.size();
    if (place == sorted_) sort_candidates(4 * sorted_);
    const double p = probability(place);
    if (place > 0 && p < options_.min_p) break;  // the likeliest has 1
    probabilities_.push_back(p);
    reached += p;
  }
  double remaining = random_unit(options_.seed, 0, drawn_++) * reached;
  for (size_t place = 0; place + 1 < probabilities_.size(); ++place) {
    remaining -= probabilities_[place];
    if (remaining < 0) return candidates_[place].token;
  }
  return candidates_[probabilities_.size() - 1].token;
}

}  // namespace qround
