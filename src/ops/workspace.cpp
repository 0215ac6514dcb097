#include "ops/workspace.h"

#include <algorithm>

namespace qround::ops {
namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kMinBlock = size_t{1} << 20;
}  // namespace

void* Workspace::take_bytes(size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (block_ < blocks_.size() && used_ + bytes > static_cast<size_t>(blocks_[block_].size())) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) add_block(std::max({bytes, kMinBlock, reserved_bytes()}));
  void* taken = blocks_[block_].data() + used_;
  used_ += bytes;
  size_t before = 0;
  for (size_t block = 0; block < block_; ++block)
    before += static_cast<size_t>(blocks_[block].size());
  peak_bytes_ = std::max(peak_bytes_, before + used_);
  return taken;
}

void Workspace::add_block(size_t bytes) {
  blocks_.emplace_back(*memory_, static_cast<int64_t>(bytes));
}

void Workspace::reserve(size_t bytes) {
  if (blocks_.empty() && bytes > 0) add_block((bytes + kAlignment - 1) / kAlignment * kAlignment);
}

size_t Workspace::reserved_bytes() const {
  size_t total = 0;
  for (const Buffer<std::byte>& block : blocks_) total += static_cast<size_t>(block.size());
  return total;
}

}  // namespace qround::ops
