// Scores of one row of logits, in double precision. Natural logarithms throughout.
#pragma once

#include <cstdint>
#include <span>

namespace qround::eval {

// log(sum over v of exp(logits[v])).
double log_partition(std::span<const float> logits);

// KL(p ‖ q) in nats of the distributions that the two rows stand for; the partitions are
// log_partition of each. The sum of non-negative terms p(log p - log q) - p + q, so that it neither
// cancels nor comes out negative where p and q are almost equal.
double kl_divergence(std::span<const float> p, double p_log_partition, std::span<const float> q,
                     double q_log_partition);

// The index of the largest logit; of equal ones the first. A NaN is never the largest.
int32_t top_token(std::span<const float> logits);

}  // namespace qround::eval
