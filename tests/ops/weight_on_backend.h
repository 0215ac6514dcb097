// A test's weight in a backend's memory.
#pragma once

#include "base/dtype.h"
#include "ops/weight.h"
#include "tests/ops/on_backend.h"

namespace qround::ops {

class WeightOnBackend {
 public:
  WeightOnBackend(const Weight& weight, const Memory& memory) {
    std::visit([&](const auto& w) { copy(w, memory); }, weight);
  }
  WeightOnBackend(WeightOnBackend&&) = default;

  const Weight& weight() const { return weight_; }

 private:
  template <typename T>
  static Buffer<T> copy_of(const T* data, int64_t count, const Memory& memory) {
    return Buffer<T>(memory, std::span<const T>(data, static_cast<size_t>(count)));
  }

  void copy(const DenseWeight& w, const Memory& memory) {
    const auto bytes = w.n * w.k * static_cast<int64_t>(dtype_bytes(w.dtype));
    dense_ = copy_of(static_cast<const std::byte*>(w.data), bytes, memory);
    weight_ = DenseWeight{w.dtype, dense_.data(), w.n, w.k};
  }

  void copy(const Int4Weight& w, const Memory& memory) {
    const int64_t groups = (w.k + w.group_size - 1) / w.group_size;
    codes_ = copy_of(w.qweight, w.k / 8 * w.n, memory);
    zeros_ = copy_of(w.qzeros, groups * ((w.n + 7) / 8), memory);
    scales_ = copy_of(w.scales, groups * w.n, memory);
    Int4Weight on_backend = w;
    on_backend.qweight = codes_.data();
    on_backend.qzeros = zeros_.data();
    on_backend.scales = scales_.data();
    if (w.g_idx != nullptr) {
      g_idx_ = copy_of(w.g_idx, w.k, memory);
      on_backend.g_idx = g_idx_.data();
    }
    weight_ = on_backend;
  }

  void copy(const Int8Weight& w, const Memory& memory) {
    int8_ = copy_of(w.codes, w.n * w.k, memory);
    int8_scales_ = copy_of(w.scales, w.n * (w.k / w.group_size), memory);
    weight_ = Int8Weight{int8_.data(), int8_scales_.data(), w.n, w.k, w.group_size};
  }

  Buffer<std::byte> dense_;
  Buffer<int8_t> int8_;
  Buffer<float> int8_scales_;
  Buffer<uint32_t> codes_, zeros_;
  Buffer<uint16_t> scales_;
  Buffer<int32_t> g_idx_;
  Weight weight_;
};

// The experts of a test in a backend's memory.
class ExpertsOnBackend {
 public:
  ExpertsOnBackend(const std::vector<SwigluWeights>& experts, const Memory& memory) {
    const auto add = [&](const Weight& weight) {
      return storage_.emplace_back(weight, memory).weight();
    };
    for (const SwigluWeights& expert : experts)
      weights_.push_back({add(expert.gate), add(expert.up), add(expert.down)});
  }
  const std::vector<SwigluWeights>& weights() const { return weights_; }

 private:
  std::vector<WeightOnBackend> storage_;
  std::vector<SwigluWeights> weights_;
};

}  // namespace qround::ops
