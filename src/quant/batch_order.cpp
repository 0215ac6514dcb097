#include "quant/batch_order.h"

#include <numeric>
#include <utility>

#include "base/random.h"

namespace qround::quant {

BatchOrder::BatchOrder(int64_t samples, int64_t batch, uint64_t seed, uint64_t stream)
    : order_(static_cast<size_t>(samples)),
      batch_(static_cast<size_t>(batch)),
      used_(order_.size()),
      seed_(seed),
      stream_(stream) {
  std::iota(order_.begin(), order_.end(), 0);
}

std::vector<int64_t> BatchOrder::next() {
  if (order_.size() - used_ < batch_) shuffle();
  const auto begin = order_.begin() + static_cast<std::ptrdiff_t>(used_);
  used_ += batch_;
  return {begin, begin + static_cast<std::ptrdiff_t>(batch_)};
}

void BatchOrder::shuffle() {
  for (size_t i = order_.size(); i > 1; --i) {
    const auto j =
        static_cast<size_t>(random_unit(seed_, stream_, drawn_++) * static_cast<double>(i));
    std::swap(order_[i - 1], order_[j]);
  }
  used_ = 0;
}

}  // namespace qround::quant
