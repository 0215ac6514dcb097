#include "eval/row_scores.h"

#include <algorithm>
#include <cmath>

namespace qround::eval {
namespace {

constexpr double kLargeRatio = 100;  // far below where expm1 overflows

}  // namespace

double log_partition(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - largest);
  return largest + std::log(sum);
}

double kl_divergence(std::span<const float> p, double p_log_partition, std::span<const float> q,
                     double q_log_partition) {
  double sum = 0;
  for (size_t v = 0; v < p.size(); ++v) {
    const double log_p = double{p[v]} - p_log_partition;
    const double log_q = double{q[v]} - q_log_partition;
    const double ratio = log_q - log_p;
    // p (r - 1 - log r) with r = q / p is never negative, and its terms sum to KL(p ‖ q).
    const double p_v = std::exp(log_p);
    sum += ratio < kLargeRatio ? p_v * (std::expm1(ratio) - ratio)
                               : std::exp(log_q) - p_v - p_v * ratio;
  }
  return sum;
}

int32_t top_token(std::span<const float> logits) {
  size_t best = 0;
  for (size_t v = 1; v < logits.size(); ++v) {
    if (logits[v] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[v]))) best = v;
  }
  return static_cast<int32_t>(best);
}

}  // namespace qround::eval
