// What errors of rounding call for in the weights that are rounded after them, for
// ops/error_feedback.h: the factor U of the inputs' products H = Xᵀ X,
//
//   H = U D Uᵀ          U unit upper triangular, D diagonal
//   e H eᵀ = sum over k of D_k (e_k + sum over j < k of U_jk e_j)²
//
// so the best code of weight k, given the errors e_j = w_j - w'_j before it, is the one nearest to
// w_k + sum U_jk e_j. Inputs of large H_kk come first: their errors are the ones to be made up for.
// Tested by tests/quant/feedback_factor_test.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"

namespace qround::quant {

// The factor U of one H, in the order in which inputs are rounded.
class FeedbackFactor {
 public:
  // `sums` [K, K]: H, of so many tokens. A part of its mean diagonal is added (`damping`), so that
  // inputs that never occurred or always go together have a factor too.
  FeedbackFactor(const std::vector<float>& sums, int64_t k, int64_t tokens, Threads threads);

  int64_t k() const { return k_; }
  // The input that is rounded as the i-th.
  std::span<const int32_t> order() const { return order_; }
  // [K, K]: row i holds U_ji of all j < i, by their places in that order.
  std::span<const float> columns() const { return columns_; }

  // Bytes while one is made.
  static uint64_t bytes(int64_t k);

 private:
  int64_t k_;
  std::vector<int32_t> order_;
  std::vector<float> columns_;
};

// The part of H's mean diagonal that is added to it: GPTQ's hundredth, and more the fewer tokens
// there were. What fewer than K tokens seem to say of inputs that go together is mostly chance:
// from 80 tokens of 256 inputs feedback without it ended far behind rounding to nearest.
double damping(int64_t k, int64_t tokens);

}  // namespace qround::quant
