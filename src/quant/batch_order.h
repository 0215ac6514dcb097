// Which calibration sequences each iteration sees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace qround::quant {

// Shuffles all samples and hands them out in batches without replacement; when fewer than a batch
// remain it shuffles again. A function of seed and stream alone.
class BatchOrder {
 public:
  // 1 <= batch <= samples.
  BatchOrder(int64_t samples, int64_t batch, uint64_t seed, uint64_t stream);

  std::vector<int64_t> next();

 private:
  void shuffle();

  std::vector<int64_t> order_;
  size_t batch_, used_;
  uint64_t seed_, stream_, drawn_ = 0;
};

}  // namespace qround::quant
