#include "quant/read_ahead.h"

#include <algorithm>

namespace qround::quant {
namespace {

// Bytes on the way: some tenths of a second of a fast disk. Large tensors that are copied follow
// one another on the disk, where the kernel reads ahead by itself: their first bytes suffice.
constexpr uint64_t kWindowBytes = uint64_t{64} << 20;

}  // namespace

ReadAhead::ReadAhead(const Checkpoint& source, const ExportPlan& plan) : source_(source) {
  for (const ExportStep& step : plan.steps) {
    for (const ExportItem& item : step.items) items_.push_back(&item);
  }
}

void ReadAhead::reach(size_t item_idx) {
  for (; reached_idx_ < item_idx; ++reached_idx_) reached_ += items_[reached_idx_]->source.bytes();
  while (requested_ < items_.size() && requested_end_ < reached_ + kWindowBytes) {
    TensorEntry pages = items_[requested_]->pages;
    requested_end_ += pages.bytes();
    pages.end = std::min(pages.end, pages.begin + kWindowBytes);
    source_.files()[pages.file_idx].prefetch(pages);
    ++requested_;
  }
}

}  // namespace qround::quant
