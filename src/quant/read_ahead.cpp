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

void ReadAhead::advance(size_t n_items) {
  for (; n_items > 0; --n_items) reached_bytes_ += items_[n_reached_++]->source.bytes();
  while (n_requested_ < items_.size() && requested_bytes_ < reached_bytes_ + kWindowBytes) {
    TensorEntry pages = items_[n_requested_++]->pages;
    requested_bytes_ += pages.bytes();
    pages.end = std::min(pages.end, pages.begin + kWindowBytes);
    source_.files()[pages.file_idx].prefetch(pages);
  }
}

}  // namespace qround::quant
