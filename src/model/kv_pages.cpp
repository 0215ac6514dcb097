#include "model/kv_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace qround {

KvPool::KvPool(int64_t layers, int64_t row, int64_t max_pages, const ops::Memory& memory)
    : layers_(layers),
      row_(row),
      memory_(memory),
      pages_(static_cast<size_t>(max_pages)),
      users_(static_cast<size_t>(max_pages)),
      unused_(static_cast<size_t>(max_pages)) {
  // The lowest page on top: pages are used again rather than new ones touched.
  for (size_t i = 0; i < unused_.size(); ++i)
    unused_[i] = static_cast<int32_t>(unused_.size() - 1 - i);
}

int32_t KvPool::take() {
  if (unused_.empty()) {
    throw Error("no room for more keys and values", ErrorKind::resource)
        .expected(fmt::format("at most {} pages of {} tokens", max_pages(), kKvPageTokens))
        .hint("shorten the context or raise the state budget");
  }
  const int32_t page = unused_.back();
  unused_.pop_back();
  float*& data = pages_[static_cast<size_t>(page)];
  if (data == nullptr) {
    blocks_.emplace_back(memory_, static_cast<int64_t>(page_floats()));
    data = blocks_.back().data();
  }
  users_[static_cast<size_t>(page)] = 1;
  return page;
}

void KvPool::release(int32_t page) {
  if (--users_[static_cast<size_t>(page)] == 0) unused_.push_back(page);
}

void KvPool::allocate_all() {
  blocks_.emplace_back(memory_, static_cast<int64_t>(page_floats() * pages_.size()));
  for (size_t page = 0; page < pages_.size(); ++page)
    if (pages_[page] == nullptr) pages_[page] = blocks_.back().data() + page * page_floats();
}

KvPages& KvPages::operator=(KvPages&& other) noexcept {
  if (this == &other) return *this;
  truncate(0);
  pool_ = std::move(other.pool_);
  pages_ = std::exchange(other.pages_, {});
  data_ = std::exchange(other.data_, {});
  device_table_ = std::move(other.device_table_);
  on_device_ = std::exchange(other.on_device_, 0);
  return *this;
}

void KvPages::grow(int64_t tokens) {
  const size_t before = pages_.size();
  try {
    while (pages() < pages_for(tokens)) {
      const int32_t page = pool_->take();
      pages_.push_back(page);
      data_.push_back(pool_->data(page));
    }
  } catch (...) {
    truncate(static_cast<int64_t>(before) * kKvPageTokens);
    throw;
  }
}

float* const* KvPages::table() { return pool_->memory().is_host ? data_.data() : device_table(); }

float* const* KvPages::device_table() {
  const ops::Memory& memory = pool_->memory();
  if (device_table_.size() < pages()) {
    device_table_ = {memory, std::max(pages(), 2 * device_table_.size())};
    on_device_ = 0;
  }
  if (on_device_ < data_.size())
    memory.upload(device_table_.data() + on_device_, data_.data() + on_device_,
                  (data_.size() - on_device_) * sizeof(float*), nullptr);
  on_device_ = data_.size();
  return device_table_.data();
}

void KvPages::truncate(int64_t tokens) {
  const auto kept = static_cast<size_t>(pages_for(tokens));
  while (pages_.size() > kept) {
    pool_->release(pages_.back());
    pages_.pop_back();
    data_.pop_back();
  }
  on_device_ = std::min(on_device_, kept);
}

void KvPages::reserve(int64_t tokens) {
  pages_.reserve(static_cast<size_t>(pages_for(tokens)));
  data_.reserve(static_cast<size_t>(pages_for(tokens)));
  if (pool_->memory().is_host || device_table_.size() >= pages_for(tokens)) return;
  device_table_ = {pool_->memory(), pages_for(tokens)};
  on_device_ = 0;
}

KvPages KvPages::shared(int64_t tokens) const {
  KvPages copy(pool_);
  const auto count = static_cast<size_t>(pages_for(tokens));
  copy.pages_.assign(pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(count));
  copy.data_.assign(data_.begin(), data_.begin() + static_cast<std::ptrdiff_t>(count));
  for (const int32_t page : copy.pages_) pool_->add_user(page);
  return copy;
}

KvPages KvPages::continued(int64_t tokens) const {
  const int64_t full = tokens / kKvPageTokens * kKvPageTokens, rows = tokens - full;
  KvPages copy = shared(full);
  if (rows == 0) return copy;
  copy.grow(tokens);
  const float* from = data_[static_cast<size_t>(full / kKvPageTokens)];
  float* to = copy.data_.back();
  for (int64_t part = 0; part < 2 * pool_->layers(); ++part) {
    const int64_t offset = part * kKvPageTokens * pool_->row();
    pool_->memory().copy(to + offset, from + offset,
                         static_cast<size_t>(rows * pool_->row()) * sizeof(float), nullptr);
  }
  return copy;
}

}  // namespace qround
