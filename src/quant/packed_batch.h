// Int4 tensors of some linear maps, packed and waiting to be written. The buffer is reused from
// batch to batch, so memory does not grow with the network.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/export_plan.h"

namespace qround::quant {

struct PackedLinear {
  const ExportItem* item = nullptr;
  int32_t* qweight = nullptr;  // item->shape.qweight()
  int32_t* qzeros = nullptr;   // item->shape.qzeros(), filled with the symmetric zero
  uint16_t* scales = nullptr;  // item->shape.scales()
  double relative_error = 0;   // |W - W'| / |W|, Frobenius norms; 0 for W = 0

  uint64_t bytes() const { return item->written_bytes(); }
};

class PackedBatch {
 public:
  // Room for these linear maps, which must outlive the batch. What it held before is lost.
  void reset(std::span<const ExportItem> items);

  std::vector<PackedLinear>& linears() { return linears_; }
  const std::vector<PackedLinear>& linears() const { return linears_; }

 private:
  std::vector<int32_t> words_;
  std::vector<PackedLinear> linears_;
};

}  // namespace qround::quant
