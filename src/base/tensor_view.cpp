#include "base/tensor_view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace qround {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string shape_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

TensorView TensorView::slice(int64_t index) const {
  TensorView part = rows(index, index + 1);
  part.shape.erase(part.shape.begin());
  return part;
}

TensorView TensorView::rows(int64_t begin, int64_t end) const {
  TensorView part = *this;
  const int64_t stride = shape[0] == 0 ? 0 : count() / shape[0];
  part.shape[0] = end - begin;
  part.data = data + static_cast<size_t>(begin * stride) * dtype_bytes(dtype);
  return part;
}

void to_f32(const TensorView& tensor, float* out) {
  const auto count = static_cast<size_t>(tensor.count());
  switch (tensor.dtype) {
    case DType::f32:
      std::memcpy(out, tensor.data, count * sizeof(float));
      return;
    case DType::bf16:
      std::transform(tensor.as<uint16_t>(), tensor.as<uint16_t>() + count, out, bf16_to_f32);
      return;
    case DType::f16:
      std::transform(tensor.as<uint16_t>(), tensor.as<uint16_t>() + count, out, f16_to_f32);
      return;
    case DType::f64:
    case DType::f8_e4m3:
    case DType::i8:
    case DType::i16:
    case DType::i32:
    case DType::i64:
    case DType::u8:
    case DType::u16:
    case DType::u32:
    case DType::u64:
    case DType::boolean:
      break;
  }
  throw Error("tensor cannot be read as floating point")
      .expected("BF16, F16 or F32")
      .actual(dtype_name(tensor.dtype));
}

std::vector<float> to_f32(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  to_f32(tensor, values.data());
  return values;
}

}  // namespace qround
