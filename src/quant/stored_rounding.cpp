#include "quant/stored_rounding.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/crc32.h"

namespace qround::quant {
namespace {

constexpr int64_t kRowsPerUnit = 64;

Int4Tensors stored_tensors(const ExportItem& item, const PartialShards& shards) {
  return {.shape = item.shape,
          .qweight = shards.find(qweight_name(item.name)).value(),
          .qzeros = shards.find(qzeros_name(item.name)).value(),
          .scales = shards.find(scales_name(item.name)).value()};
}

}  // namespace

std::optional<uint32_t> stored_crc32(const ExportStep& step, const PartialShards& shards) {
  uint32_t checksum = 0;
  for (const ExportItem& item : step.items) {
    for (const std::string& name : item.written_names()) {
      const std::optional<TensorView> tensor = shards.find(name);
      if (!tensor) return std::nullopt;
      if (item.linear != nullptr)
        checksum = crc32(std::span(tensor->data, tensor->bytes()), checksum);
    }
  }
  return checksum;
}

RoundingSnapshot stored_rounding(const ExportStep& step, const PartialShards& shards,
                                 Threads threads) {
  RoundingSnapshot rounding;
  size_t n_weights = 0, n_groups = 0;
  for (const ExportItem& item : step.items) {
    if (item.linear == nullptr) continue;
    n_weights += static_cast<size_t>(item.shape.out * item.shape.in);
    n_groups += static_cast<size_t>(item.shape.out * item.shape.n_groups());
  }
  rounding.packed_codes.resize(n_weights / 2);
  rounding.scales.resize(n_groups);
  uint8_t* next_codes = rounding.packed_codes.data();
  uint16_t* next_scales = rounding.scales.data();
  for (const ExportItem& item : step.items) {
    if (item.linear == nullptr) continue;
    const Int4Tensors tensors = stored_tensors(item, shards);
    const Int4Shape& shape = item.shape;
    const auto units = static_cast<size_t>((shape.out + kRowsPerUnit - 1) / kRowsPerUnit);
    parallel_for(threads, units, [&](size_t unit, int) {
      const int64_t begin = static_cast<int64_t>(unit) * kRowsPerUnit;
      const RowRange rows{begin, std::min(shape.out, begin + kRowsPerUnit)};
      std::vector<uint8_t> codes(static_cast<size_t>(rows.count() * shape.in));
      unpack_codes(tensors, rows, codes.data());
      pack_nibbles(codes.data(), codes.size(), next_codes + begin * shape.in / 2);
      unpack_scales(tensors, rows, next_scales + begin * shape.n_groups());
    });
    next_codes += shape.out * shape.in / 2;
    next_scales += shape.out * shape.n_groups();
  }
  return rounding;
}

}  // namespace qround::quant
