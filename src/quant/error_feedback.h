// Rounding with error feedback (GPTQ, arXiv 2210.17323, in the form of LDLQ, arXiv 2307.13304): a
// row's weights are rounded one after the other, and each takes up what the errors before it are
// expected to do to the output.
//
//   H = U D Uᵀ          U unit upper triangular, D diagonal
//   e H eᵀ = sum over k of D_k (e_k + sum over j < k of U_jk e_j)²
//
// so the best code of weight k, given the errors e_j = w_j - w'_j before it, is the one nearest to
// w_k + sum U_jk e_j. Inputs of large H_kk come first: their errors are the ones to be made up for.
//
// What is handed on is not the code but the offset to w_k / s that leads to it, v of
// ops/sign_round.h: learned rounding goes on from there. Tested by
// tests/quant/error_feedback_test.cpp.
#pragma once

#include <cstdint>
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
  int64_t input(int64_t i) const { return order_[static_cast<size_t>(i)]; }
  // U_ji of all j < i, by their places in that order.
  const float* column(int64_t i) const { return columns_.data() + i * k_; }

  // Bytes while one is made.
  static uint64_t bytes(int64_t k);

 private:
  int64_t k_;
  std::vector<int64_t> order_;
  std::vector<float> columns_;  // [K, K]: row i is column i of U
};

// The part of H's mean diagonal that is added to it: GPTQ's hundredth, and more the fewer tokens
// there were. What fewer than K tokens seem to say of inputs that go together is mostly chance:
// from 80 tokens of 256 inputs feedback without it ended far behind rounding to nearest.
double damping(int64_t k, int64_t tokens);

// Some rows of a map: what is rounded and how.
struct FeedbackRows {
  int64_t rows = 0, group_size = 128;
  const float* weights = nullptr;  // [rows, K]
  const float* scales = nullptr;   // [rows, K / G], not zero
  float v_unit = 0;                // v = units * v_unit
  int16_t most_units = 0;          // of v's magnitude
  int16_t* v = nullptr;            // [rows, K] units: the result
};

// Any number of rows at a time gives the same results.
void round_with_feedback(const FeedbackFactor& factor, const FeedbackRows& rows);

}  // namespace qround::quant
