#include "quant/error_statistics.h"

#include <algorithm>

namespace qround::quant {
namespace {

constexpr size_t kWorst = 10;

std::string kind_of(const Parameter& p) {
  const std::string name(role_name(p.role));
  return p.part == Part::mtp ? "mtp " + name : name;
}

// `mean` holds the sum meanwhile.
void add_to(std::vector<ErrorSummary>& summaries, const std::string& kind, int64_t block,
            double error) {
  // Newest first: neighbours in the file are of one kind.
  auto found = std::find_if(summaries.rbegin(), summaries.rend(), [&](const ErrorSummary& summary) {
    return summary.block == block && summary.kind == kind;
  });
  if (found == summaries.rend()) {
    summaries.push_back({.kind = kind, .block = block, .min = error, .max = error});
    found = summaries.rbegin();
  }
  ++found->count;
  found->mean += error;
  found->min = std::min(found->min, error);
  found->max = std::max(found->max, error);
}

std::vector<ErrorSummary> with_means(std::vector<ErrorSummary> summaries) {
  for (ErrorSummary& summary : summaries) summary.mean /= static_cast<double>(summary.count);
  return summaries;
}

}  // namespace

void ErrorStatistics::add(const ExportItem& item, double error) {
  const Parameter& linear = *item.linear;
  add_to(kinds_, kind_of(linear), -1, error);
  if (linear.part == Part::text && linear.block >= 0)
    add_to(blocks_, kind_of(linear), linear.block, error);
  all_.push_back({item.name, error});
}

std::vector<ErrorSummary> ErrorStatistics::by_kind() const { return with_means(kinds_); }
std::vector<ErrorSummary> ErrorStatistics::by_block() const { return with_means(blocks_); }

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
