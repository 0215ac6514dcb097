// A BF16 weight rounded to int8 in memory: half the bytes to read for each token.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "ops/weight.h"

namespace qround {

class Int8Copy {
 public:
  // Rounds to nearest in groups of 128 inputs. None for a weight that is not BF16 or whose rows the
  // group does not divide.
  static std::optional<Int8Copy> of(const ops::Weight& weight, Threads threads);

  // Valid as long as this object stays where it is or is moved from.
  ops::Weight weight() const;
  uint64_t bytes() const { return codes_.size() + scales_.size() * sizeof(float); }

 private:
  Int8Copy() = default;

  int64_t n_ = 0, k_ = 0;
  std::vector<int8_t> codes_;
  std::vector<float> scales_;
};

}  // namespace qround
