// A dense weight rounded to int4 in memory, for work whose result is checked afterwards: drafts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "ops/weight.h"

namespace qround {

class Int4Copy {
 public:
  // Rounds to nearest in groups of 128, 64 or 32 inputs. None for a weight that is int4 already,
  // whose rows no group divides or whose values int4 cannot represent: the weight itself must do.
  static std::optional<Int4Copy> of(const ops::Weight& weight, Threads threads);

  // Valid as long as this object stays where it is or is moved from.
  ops::Weight weight() const;
  uint64_t bytes() const;
  // What a copy would take, without making it.
  static uint64_t bytes_of(int64_t outputs, int64_t inputs);

 private:
  Int4Copy() = default;

  int64_t n_ = 0, k_ = 0, group_size_ = 0;
  std::vector<int32_t> qweight_, qzeros_;
  std::vector<uint16_t> scales_;
};

}  // namespace qround
