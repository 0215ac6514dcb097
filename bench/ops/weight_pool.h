// Many weights of one shape, together larger than the caches, so that each use reads memory.
#pragma once

#include <cstdint>
#include <vector>

#include "base/half.h"
#include "ops/weight.h"

namespace qround::ops {

class WeightPool {
 public:
  static constexpr int64_t kBytes = int64_t{256} << 20;

  static WeightPool bf16(int64_t n, int64_t k) {
    WeightPool pool(n * k * 2);
    for (uint8_t* at : pool.places_) {
      auto* words = reinterpret_cast<uint16_t*>(at);
      for (int64_t i = 0; i < n * k; ++i)
        words[i] = f32_to_bf16(static_cast<float>(i % 13 - 6) * 0.01f);
      pool.weights_.push_back(DenseWeight{.dtype = DType::bf16, .data = at, .n = n, .k = k});
    }
    return pool;
  }

  static WeightPool int4(int64_t n, int64_t k, int64_t group_size = 128) {
    WeightPool pool(n * k / 2);
    const auto groups = static_cast<size_t>(k / group_size);
    pool.zeros_.assign(groups * static_cast<size_t>(n / 8), 0x77777777u);
    pool.scales_.assign(groups * static_cast<size_t>(n), f32_to_f16(0.01f));
    for (uint8_t* at : pool.places_) {
      for (int64_t i = 0; i < n * k / 2; ++i) at[i] = static_cast<uint8_t>(i * 37 + i / 251);
      pool.weights_.push_back(Int4Weight{.qweight = reinterpret_cast<uint32_t*>(at),
                                         .qzeros = pool.zeros_.data(),
                                         .scales = pool.scales_.data(),
                                         .n = n,
                                         .k = k,
                                         .group_size = group_size});
    }
    return pool;
  }

  const Weight& next() { return weights_[next_++ % weights_.size()]; }
  const std::vector<Weight>& all() const { return weights_; }
  double bytes_each() const { return static_cast<double>(bytes_each_); }

 private:
  explicit WeightPool(int64_t bytes_each) : bytes_each_(bytes_each) {
    const int64_t count = kBytes / bytes_each + 1;
    memory_.resize(static_cast<size_t>(count * bytes_each + 64));
    auto* first = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory_.data()) + 63) &
                                             ~uintptr_t{63});
    for (int64_t i = 0; i < count; ++i) places_.push_back(first + i * bytes_each);
  }

  int64_t bytes_each_;
  std::vector<uint8_t> memory_;
  std::vector<uint8_t*> places_;
  std::vector<uint32_t> zeros_;
  std::vector<uint16_t> scales_;
  std::vector<Weight> weights_;
  size_t next_ = 0;
};

}  // namespace qround::ops
