// The values of a small parameter (a norm, a convolution, decay) in a backend's memory. Copies
// share them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ops/memory.h"

namespace qround {

class ParameterVector {
 public:
  ParameterVector() = default;
  // In host memory.
  ParameterVector(const std::vector<float>& values)  // NOLINT(google-explicit-constructor)
      : ParameterVector(ops::host_memory(), values) {}
  ParameterVector(const ops::Memory& memory, std::span<const float> values,
                  ops::Stream* stream = nullptr)
      : values_(std::make_shared<const ops::Buffer<float>>(memory, values, stream)) {}

  const float* data() const { return values_ == nullptr ? nullptr : values_->data(); }
  size_t size() const { return values_ == nullptr ? 0 : static_cast<size_t>(values_->size()); }

 private:
  std::shared_ptr<const ops::Buffer<float>> values_;
};

}  // namespace qround
