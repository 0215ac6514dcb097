// Asks the kernel for the source's pages a little before they are needed.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "quant/export_plan.h"

namespace qround::quant {

class ReadAhead {
 public:
  // `plan` and `source` must outlive the object.
  ReadAhead(const Checkpoint& source, const ExportPlan& plan);

  // The next `n_items` of the plan are about to be read: requests them and what follows.
  void advance(size_t n_items);

 private:
  const Checkpoint& source_;
  std::vector<const ExportItem*> items_;
  size_t n_reached_ = 0, n_requested_ = 0;            // items
  uint64_t reached_bytes_ = 0, requested_bytes_ = 0;  // of these items
};

}  // namespace qround::quant
