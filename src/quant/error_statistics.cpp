#include "quant/error_statistics.h"

#include <algorithm>

namespace qround::quant {
namespace {

constexpr size_t kWorst = 10;

std::string kind_of(const Parameter& p) {
  const std::string name(role_name(p.role));
  return p.part == Part::mtp ? "mtp " + name : name;
}

}  // namespace

void ErrorStatistics::add(const ExportItem& item, double error) {
  const std::string kind = kind_of(*item.linear);
  auto found = std::find_if(kinds_.begin(), kinds_.end(),
                            [&](const ErrorSummary& summary) { return summary.kind == kind; });
  if (found == kinds_.end())
    found = kinds_.insert(kinds_.end(), {.kind = kind, .min = error, .max = error});
  ++found->count;
  found->mean += error;
  found->min = std::min(found->min, error);
  found->max = std::max(found->max, error);
  all_.push_back({item.name, error});
}

std::vector<ErrorSummary> ErrorStatistics::by_kind() const {
  std::vector<ErrorSummary> kinds = kinds_;
  for (ErrorSummary& kind : kinds) kind.mean /= static_cast<double>(kind.count);
  return kinds;
}

std::vector<TensorError> ErrorStatistics::worst() const {
  std::vector<TensorError> worst(std::min(kWorst, all_.size()));
  std::partial_sort_copy(all_.begin(), all_.end(), worst.begin(), worst.end(),
                         [](const TensorError& a, const TensorError& b) {
                           if (a.relative_error != b.relative_error)
                             return a.relative_error > b.relative_error;
                           return a.module < b.module;
                         });
  return worst;
}

}  // namespace qround::quant
