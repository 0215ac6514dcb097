// One lane's part of a matrix under learned rounding: four neighbouring weights of a row, read from
// global memory, stepped and written back. A warp holds 128 neighbours; where a row ends before
// that, lanes without weights only take part in the exchange among lanes.
#pragma once

#include "ops/cuda/sign_round_group.h"

namespace qround::ops::cuda {

inline constexpr int kWeightsPerWarp = kWarpLanes * kWeightsPerLane;

class SignRoundLane {
 public:
  // Row `row` from `first` on, a multiple of 128; by all lanes of a warp.
  __device__ SignRoundLane(const DenseWeight& weight, const SignRoundRule& rule,
                           const SignRoundRows& rows, int64_t row, int64_t first)
      : rows_(rows),
        column_(first + lane_idx() * kWeightsPerLane),
        index_(row * weight.k + column_),
        exists_(column_ < weight.k),
        group_(make_group(weight, rule)) {
    if (!exists_) return;
    const auto v = reinterpret_cast<const Four<int16_t>*>(rows.v + index_);
    for (int i = 0; i < kWeightsPerLane; ++i) v_[i] = v->of[i];
    alpha_ = rows.alpha[index_ / rows.group_size];
    beta_ = rows.beta[index_ / rows.group_size];
  }

  __device__ bool exists() const { return exists_; }
  __device__ int64_t column() const { return column_; }

  // By all lanes of a warp.
  __device__ void step(const float (&gradient)[kWeightsPerLane], const SignRoundStepSizes& sizes) {
    group_.step(gradient, sizes, v_, alpha_, beta_);
    if (!exists_) return;
    put(rows_.v, v_);
    if (!leads_group()) return;
    rows_.alpha[index_ / rows_.group_size] = alpha_;
    rows_.beta[index_ / rows_.group_size] = beta_;
  }

  // Codes of the whole matrix at 4 bits each, the low nibble first, and scales.
  __device__ void store_packed(uint8_t* packed_codes, uint16_t* scales) const {
    if (!exists_) return;
    const uint16_t bits = group_.scale_bits(alpha_, beta_);
    if (leads_group()) scales[index_ / rows_.group_size] = bits;
    unsigned packed = 0;
    for (int i = 0; i < kWeightsPerLane; ++i) {
      const auto code = static_cast<unsigned>(
          static_cast<int>(group_.code(i, v_[i], f16_value(bits))) - kLowestCode);
      packed |= code << (4 * i);
    }
    *reinterpret_cast<uint16_t*>(packed_codes + index_ / 2) = static_cast<uint16_t>(packed);
  }

  __device__ void store(const SignRoundResult& result) const {
    if (!exists_) return;
    const uint16_t bits = group_.scale_bits(alpha_, beta_);
    const float scale = f16_value(bits);
    if (result.scales != nullptr && leads_group()) result.scales[index_ / rows_.group_size] = bits;
    float codes[kWeightsPerLane];
    for (int i = 0; i < kWeightsPerLane; ++i) codes[i] = group_.code(i, v_[i], scale);
    float values[kWeightsPerLane];
    uint16_t halves[kWeightsPerLane];
    uint8_t stored_codes[kWeightsPerLane];
    for (int i = 0; i < kWeightsPerLane; ++i) {
      values[i] = __fmul_rn(scale, codes[i]);
      halves[i] = to_bf16(values[i]);
      stored_codes[i] = static_cast<uint8_t>(codes[i] - kLowestCode);
    }
    if (result.codes != nullptr) put(result.codes, stored_codes);
    if (result.values == nullptr) return;
    if (result.dtype == DType::bf16) {
      put(static_cast<uint16_t*>(result.values), halves);
    } else {
      put(static_cast<float*>(result.values), values);
    }
  }

 private:
  // A lane's four neighbours move at once: groups begin at multiples of 32 weights.
  template <typename T>
  struct alignas(kWeightsPerLane * sizeof(T)) Four {
    T of[kWeightsPerLane];
  };
  template <typename T>
  __device__ void put(T* matrix, const T (&values)[kWeightsPerLane]) const {
    Four<T> four;
    for (int i = 0; i < kWeightsPerLane; ++i) four.of[i] = values[i];
    *reinterpret_cast<Four<T>*>(matrix + index_) = four;
  }

  __device__ bool leads_group() const { return column_ % rows_.group_size == 0; }

  __device__ SignRoundGroup make_group(const DenseWeight& weight, const SignRoundRule& rule) const {
    float w[kWeightsPerLane]{};
    if (exists_)
      for (int i = 0; i < kWeightsPerLane; ++i) w[i] = weight_value(weight, index_ + i);
    return {rule, w, static_cast<int>(rows_.group_size) / kWeightsPerLane};
  }

  SignRoundRows rows_;
  int64_t column_, index_;
  bool exists_;
  SignRoundGroup group_;
  int16_t v_[kWeightsPerLane]{};
  float alpha_ = 1, beta_ = 1;
};

}  // namespace qround::ops::cuda
