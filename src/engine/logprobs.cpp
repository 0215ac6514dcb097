#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>

namespace qround {

float logprobs(std::span<const float> logits, int32_t token, std::span<TokenLogprob> top) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(double{logit} - largest);
  const double log_total = std::log(total) + largest;
  const auto logprob_of = [&](float logit) { return static_cast<float>(logit - log_total); };
  size_t kept = 0;
  for (size_t id = 0; id < logits.size() && !top.empty(); ++id) {
    const float logprob = logprob_of(logits[id]);
    if (kept == top.size() && !(logprob > top[kept - 1].logprob)) continue;
    size_t place = kept < top.size() ? kept++ : kept - 1;
    for (; place > 0 && logprob > top[place - 1].logprob; --place) top[place] = top[place - 1];
    top[place] = {.token = static_cast<int32_t>(id), .logprob = logprob};
  }
  return logprob_of(logits[static_cast<size_t>(token)]);
}

}  // namespace qround
