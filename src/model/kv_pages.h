// Keys and values of attention layers in pages of kKvPageTokens tokens, which sequences that begin
// alike share.
//
// Pages lie in a backend's memory, and so do the tables of pages that its operations read. A page
// holds all layers of its tokens: [layers, 2, kKvPageTokens, row], keys before values. It is
// written by the one sequence it was taken for; others see rows of it that no longer change. None
// of this is thread-safe: a pool and its tables belong to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/causal_attention.h"
#include "ops/memory.h"

namespace qround {

using ops::kKvPageTokens;

class KvPool {
 public:
  // At most `max_pages` pages for `layers` attention layers with rows of `row` floats (Hkv * D).
  KvPool(int64_t layers, int64_t row, int64_t max_pages,
         const ops::Memory& memory = ops::host_memory());

  // An unused page with one user. Throws Error (resource) when there is none.
  int32_t take();
  void add_user(int32_t page) { ++users_[static_cast<size_t>(page)]; }
  void release(int32_t page);
  // Makes all pages now rather than when they are first taken, so that taking allocates nothing.
  // Pages that nobody writes take no memory yet.
  void allocate_all();

  const ops::Memory& memory() const { return memory_; }
  float* data(int32_t page) { return pages_[static_cast<size_t>(page)]; }
  int64_t layers() const { return layers_; }
  int64_t row() const { return row_; }
  int64_t max_pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t unused_pages() const { return static_cast<int64_t>(unused_.size()); }
  // Floats from a page's beginning to a layer's keys and values.
  int64_t key_offset(int64_t layer) const { return 2 * layer * kKvPageTokens * row_; }
  int64_t value_offset(int64_t layer) const { return (2 * layer + 1) * kKvPageTokens * row_; }
  size_t page_floats() const { return static_cast<size_t>(key_offset(layers_)); }

 private:
  int64_t layers_, row_;
  const ops::Memory& memory_;
  std::vector<ops::Buffer<float>> blocks_;  // of one page each, or of all
  std::vector<float*> pages_;               // null: not made yet
  std::vector<int32_t> users_;
  std::vector<int32_t> unused_;  // a stack
};

// Pages that `tokens` tokens fill or begin.
constexpr int64_t pages_for(int64_t tokens) { return (tokens + kKvPageTokens - 1) / kKvPageTokens; }

// The pages of one sequence, or of one state kept for later.
class KvPages {
 public:
  explicit KvPages(std::shared_ptr<KvPool> pool) : pool_(std::move(pool)) {}
  ~KvPages() { truncate(0); }
  KvPages(KvPages&& other) noexcept = default;
  KvPages& operator=(KvPages&& other) noexcept;

  // Takes pages until there is room for `tokens` tokens. Throws Error (resource), and keeps what it
  // had, when the pool has too few.
  void grow(int64_t tokens);
  // Gives back the pages that hold none of the first `tokens` tokens.
  void truncate(int64_t tokens);
  // Room for the table of `tokens` tokens, so that growing allocates nothing.
  void reserve(int64_t tokens);

  // The pages of the first `tokens` tokens, shared. This table may go on writing later rows.
  KvPages shared(int64_t tokens) const;
  // The same, to go on from: a last page that is not full is copied.
  KvPages continued(int64_t tokens) const;

  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  // [pages], in the pool's memory. Valid until the next call.
  float* const* table();
  KvPool& pool() const { return *pool_; }
  std::shared_ptr<KvPool> share_pool() const { return pool_; }

 private:
  float* const* device_table();

  std::shared_ptr<KvPool> pool_;
  std::vector<int32_t> pages_;
  std::vector<float*> data_;          // of the same pages
  ops::Buffer<float*> device_table_;  // a copy of the first `on_device_` of them, where needed
  size_t on_device_ = 0;
};

}  // namespace qround
