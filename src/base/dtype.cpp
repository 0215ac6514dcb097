#include "base/dtype.h"

#include <array>

namespace qround {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  size_t bytes;
};

constexpr std::array kTable = {
    Row{DType::bf16, "BF16", 2}, Row{DType::f16, "F16", 2},         Row{DType::f32, "F32", 4},
    Row{DType::f64, "F64", 8},   Row{DType::f8_e4m3, "F8_E4M3", 1}, Row{DType::i8, "I8", 1},
    Row{DType::i16, "I16", 2},   Row{DType::i32, "I32", 4},         Row{DType::i64, "I64", 8},
    Row{DType::u8, "U8", 1},     Row{DType::u16, "U16", 2},         Row{DType::u32, "U32", 4},
    Row{DType::u64, "U64", 8},   Row{DType::boolean, "BOOL", 1}};

const Row& row(DType dtype) { return kTable[static_cast<size_t>(dtype)]; }

constexpr bool in_order() {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_order(), "kTable is indexed by DType");

}  // namespace

size_t dtype_bytes(DType dtype) { return row(dtype).bytes; }
std::string_view dtype_name(DType dtype) { return row(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Row& entry : kTable) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

}  // namespace qround
