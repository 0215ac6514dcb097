// Brings weights from host memory, as a rule a mapped checkpoint, into a backend's.
#pragma once

#include <cstdint>
#include <vector>

#include "model/block_weights.h"

namespace qround {

// What is added is changed by upload(): it points to the copies then, which are as the weights were
// stored, but for indices of groups that follow each other (g_idx), which say nothing. Weights that
// share memory share a copy.
class WeightUpload {
 public:
  // They stay where they are until upload().
  void add(ops::Weight& weight) { weights_.push_back(&weight); }
  void add(ParameterVector& vector) { vectors_.push_back(&vector); }
  void add(ops::SwigluWeights& weights);
  void add(BlockWeights& weights);

  // What the copies take.
  uint64_t bytes() const;
  // Returns the copies of what was added as a Weight; those of vectors own themselves. Enqueued on
  // `stream`. Throws Error of kind `resource`.
  ops::Buffer<std::byte> upload(const ops::Memory& memory, ops::Stream* stream = nullptr);

 private:
  std::vector<ops::Weight*> weights_;
  std::vector<ParameterVector*> vectors_;
};

}  // namespace qround
