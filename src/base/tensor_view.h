// A tensor somebody else owns: element type, shape, pointer. Row-major and contiguous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace qround {

using Shape = std::vector<int64_t>;

int64_t element_count(const Shape& shape);
std::string shape_text(const Shape& shape);  // "[256, 1024]"

struct TensorView {
  DType dtype = DType::f32;
  Shape shape;
  const std::byte* data = nullptr;

  int64_t count() const { return element_count(shape); }
  size_t bytes() const { return static_cast<size_t>(count()) * dtype_bytes(dtype); }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data);
  }
  // Element `index` of the first axis: [E, 2I, H] -> [2I, H].
  TensorView slice(int64_t index) const;
  // Rows [begin, end) of the first axis.
  TensorView rows(int64_t begin, int64_t end) const;
};

// Reads any floating tensor element by element as f32 into out[count()].
void to_f32(const TensorView& tensor, float* out);
std::vector<float> to_f32(const TensorView& tensor);

}  // namespace qround
