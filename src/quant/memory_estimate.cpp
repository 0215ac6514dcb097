#include "quant/memory_estimate.h"

#include <algorithm>

namespace qround::quant {
namespace {

// Measured with a network of 2 layers and 256 experts, and the headers of one of 40 layers: the
// program itself, and what names, shapes and offsets of a tensor take in all tables together.
constexpr uint64_t kProgramBytes = uint64_t{16} << 20;
constexpr uint64_t kBytesPerTensor = 2300;

// Per thread: codes and scales of 64 rows while rounding, of 32 while checking.
constexpr uint64_t kScratchBytesPerInput = 64 + 32 + 4;

}  // namespace

uint64_t estimate_memory(const ExportPlan& plan, Threads threads) {
  uint64_t largest_batch = 0, widest = 0, n_tensors = 0;
  for (const ExportStep& step : plan.steps) {
    for (const std::span<const ExportItem> batch : batches(step)) {
      const bool copied = batch.front().linear == nullptr;
      n_tensors += copied ? 1 : 3 * batch.size();
      if (copied) continue;
      uint64_t batch_bytes = 0;
      for (const ExportItem& item : batch) {
        batch_bytes += item.written_bytes();
        widest = std::max(widest, static_cast<uint64_t>(item.shape.in));
      }
      largest_batch = std::max(largest_batch, batch_bytes);
    }
  }
  const auto n_threads = static_cast<uint64_t>(std::max(threads.count, 1));
  return kProgramBytes + n_tensors * kBytesPerTensor + 2 * largest_batch +
         n_threads * widest * kScratchBytesPerInput;
}

}  // namespace qround::quant
