#include "model/kv_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace qround {

KvPool::KvPool(int64_t layers, int64_t row, int64_t max_pages)
    : layers_(layers),
      row_(row),
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
    memory_.push_back(std::make_unique_for_overwrite<float[]>(page_floats()));
    data = memory_.back().get();
  }
  users_[static_cast<size_t>(page)] = 1;
  return page;
}

void KvPool::release(int32_t page) {
  if (--users_[static_cast<size_t>(page)] == 0) unused_.push_back(page);
}

void KvPool::allocate_all() {
  memory_.push_back(std::make_unique_for_overwrite<float[]>(page_floats() * pages_.size()));
  for (size_t page = 0; page < pages_.size(); ++page)
    if (pages_[page] == nullptr) pages_[page] = memory_.back().get() + page * page_floats();
}

KvPages& KvPages::operator=(KvPages&& other) noexcept {
  if (this == &other) return *this;
  truncate(0);
  pool_ = std::move(other.pool_);
  pages_ = std::exchange(other.pages_, {});
  data_ = std::exchange(other.data_, {});
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

void KvPages::truncate(int64_t tokens) {
  const auto kept = static_cast<size_t>(pages_for(tokens));
  while (pages_.size() > kept) {
    pool_->release(pages_.back());
    pages_.pop_back();
    data_.pop_back();
  }
}

void KvPages::reserve(int64_t tokens) {
  pages_.reserve(static_cast<size_t>(pages_for(tokens)));
  data_.reserve(static_cast<size_t>(pages_for(tokens)));
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
    std::copy_n(from + offset, rows * pool_->row(), to + offset);
  }
  return copy;
}

}  // namespace qround
