// Gathers the relative errors of the linear maps of a job for its report.
#pragma once

#include <vector>

#include "base/report.h"
#include "quant/export_plan.h"

namespace qround::quant {

class ErrorStatistics {
 public:
  // An int4 item and |W - W'| / |W|.
  void add(const ExportItem& item, double relative_error);

  std::vector<ErrorSummary> by_kind() const;   // in the order of first appearance
  std::vector<ErrorSummary> by_block() const;  // the same for each text block
  std::vector<TensorError> worst() const;      // at most ten, the largest first

 private:
  std::vector<ErrorSummary> kinds_, blocks_;  // `mean` holds the sum
  std::vector<TensorError> all_;
};

}  // namespace qround::quant
