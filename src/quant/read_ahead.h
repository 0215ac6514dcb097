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

  // The item at this position of the whole plan is about to be read: requests what follows.
  void reach(size_t item_idx);

 private:
  const Checkpoint& source_;
  std::vector<const ExportItem*> items_;
  size_t requested_ = 0;        // items before this one
  uint64_t requested_end_ = 0;  // bytes of the items before requested_
  uint64_t reached_ = 0;        // bytes of the items before reached_idx_
  size_t reached_idx_ = 0;
};

}  // namespace qround::quant
