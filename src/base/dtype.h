// Element types of tensors, as safetensors headers name them.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace qround {

enum class DType { bf16, f16, f32, f64, f8_e4m3, i8, i16, i32, i64, u8, u16, u32, u64, boolean };

size_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);                     // "BF16", "F8_E4M3", ...
std::optional<DType> dtype_from_name(std::string_view name);  // nullopt: unknown

}  // namespace qround
