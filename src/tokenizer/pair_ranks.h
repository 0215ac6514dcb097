// The rank of every mergeable pair of tokens: a hash table that is filled once and then only read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace qround {

class PairRanks {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit PairRanks(size_t n_pairs)
      : shift_(64 - static_cast<int>(std::bit_width(2 * n_pairs + 1))), entries_(size_t{1} << (64 - shift_)) {}

  // A pair that is set twice keeps the later rank. At most n_pairs pairs may be set.
  void set(int32_t left, int32_t right, uint32_t rank) {
    Entry& entry = entries_[slot_of(key_of(left, right))];
    entry = {key_of(left, right), rank};
  }

  // kNone: the pair does not merge.
  uint32_t find(int32_t left, int32_t right) const {
    const Entry& entry = entries_[slot_of(key_of(left, right))];
    return entry.rank;  // an empty slot says kNone
  }

 private:
  struct Entry {
    uint64_t key = UINT64_MAX;  // no pair: ids are not negative
    uint32_t rank = kNone;
  };

  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  // The slot that holds the key, or the empty one where it would go. At most half the slots are
  // full.
  size_t slot_of(uint64_t key) const {
    size_t slot = static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> shift_);
    while (entries_[slot].key != key && entries_[slot].key != UINT64_MAX) {
      slot = (slot + 1) & (entries_.size() - 1);
    }
    return slot;
  }

  int shift_;
  std::vector<Entry> entries_;
};

}  // namespace qround
