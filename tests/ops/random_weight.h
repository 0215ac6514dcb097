// Random weights of every stored format, with the memory they point into.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/half.h"
#include "ops/weight.h"
#include "tests/ops/random_values.h"

namespace qround::ops {

enum class WeightFormat {
  bf16,
  f16,
  f32,
  int4,           // symmetric: every zero is 8
  int4_zeros,     // zeros of their own
  int4_v2,        // zeros of their own, stored as they are
  int4_g_idx,     // g_idx present, in order
  int4_shuffled,  // g_idx in disorder, as activation ordering leaves it
};

inline constexpr WeightFormat kAllWeightFormats[] = {
    WeightFormat::bf16,       WeightFormat::f16,          WeightFormat::f32,
    WeightFormat::int4,       WeightFormat::int4_zeros,   WeightFormat::int4_v2,
    WeightFormat::int4_g_idx, WeightFormat::int4_shuffled};

inline bool is_int4(WeightFormat format) { return format >= WeightFormat::int4; }

class RandomWeight {
 public:
  RandomWeight(WeightFormat format, int64_t n, int64_t k, RandomValues& random,
               int64_t group_size = 32) {
    if (is_int4(format))
      fill_int4(format, n, k, group_size, random);
    else
      fill_dense(format, n, k, random);
  }
  RandomWeight(RandomWeight&&) = default;  // vectors keep their memory when moved

  const Weight& weight() const { return weight_; }

 private:
  void fill_dense(WeightFormat format, int64_t n, int64_t k, RandomValues& random) {
    f32_ = random.normal(n * k);
    DenseWeight dense{.dtype = DType::f32, .data = f32_.data(), .n = n, .k = k};
    if (format != WeightFormat::f32) {
      const bool bf16 = format == WeightFormat::bf16;
      for (float value : f32_) half_.push_back(bf16 ? f32_to_bf16(value) : f32_to_f16(value));
      dense.dtype = bf16 ? DType::bf16 : DType::f16;
      dense.data = half_.data();
    }
    weight_ = dense;
  }

  void fill_int4(WeightFormat format, int64_t n, int64_t k, int64_t group_size,
                 RandomValues& random) {
    const int64_t groups = (k + group_size - 1) / group_size, zero_words = (n + 7) / 8;
    for (int64_t i = 0; i < k / 8 * n; ++i) words_.push_back(random.bits());
    for (int64_t i = 0; i < groups * zero_words; ++i)
      zeros_.push_back(format == WeightFormat::int4 ? 0x77777777u : random.bits());
    for (float scale : random.normal(groups * n, 0.1f)) half_.push_back(f32_to_f16(scale));
    for (int64_t i = 0; i < k; ++i) g_idx_.push_back(static_cast<int32_t>(i / group_size));
    if (format == WeightFormat::int4_shuffled)
      for (size_t i = g_idx_.size(); i > 1; --i)
        std::swap(g_idx_[i - 1], g_idx_[random.bits() % i]);
    const bool has_g_idx =
        format == WeightFormat::int4_g_idx || format == WeightFormat::int4_shuffled;
    weight_ = Int4Weight{.qweight = words_.data(),
                         .qzeros = zeros_.data(),
                         .scales = half_.data(),
                         .g_idx = has_g_idx ? g_idx_.data() : nullptr,
                         .n = n,
                         .k = k,
                         .group_size = group_size,
                         .zero_offset = format == WeightFormat::int4_v2 ? 0 : 1};
  }

  std::vector<float> f32_;
  std::vector<uint16_t> half_;
  std::vector<uint32_t> words_, zeros_;
  std::vector<int32_t> g_idx_;
  Weight weight_;
};

}  // namespace qround::ops
