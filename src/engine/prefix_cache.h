// States of beginnings of earlier requests, so that a request that begins alike goes on from there.
//
// Keys and values are shared pages; the recurrent state and the last hidden state are copies, which
// is why beginnings are kept at chosen places only. Least recently used out first. Belongs to one
// thread.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/timeline.h"

namespace qround {

struct KeptPrefix {
  std::vector<int32_t> tokens;
  KvPages pages;
  RecurrentCopy recurrent;
  ops::Buffer<float> last_hidden;
  // The MTP head's rows of these tokens, where it ran.
  std::optional<KvPages> mtp_pages;
  int64_t mtp_rows = 0, mtp_next = 1;

  uint64_t bytes() const;  // beside pages
};

class PrefixCache {
 public:
  explicit PrefixCache(uint64_t most_bytes) : most_bytes_(most_bytes) {}

  // The longest kept beginning of `tokens` that has at most `most` of them, or null. Valid until
  // the next call that is not const.
  const KeptPrefix* find(std::span<const int32_t> tokens, int64_t most);
  // Whether these very tokens are kept; that counts as a use.
  bool holds(std::span<const int32_t> tokens);
  // Keeps it, at the cost of older ones. Larger than the whole budget: nothing happens.
  void insert(KeptPrefix prefix);
  // Drops the one that was not used for the longest time. False when there is none.
  bool drop_oldest();

  uint64_t most_bytes() const { return most_bytes_; }
  uint64_t bytes() const { return bytes_; }
  int64_t size() const { return static_cast<int64_t>(order_.size()); }

 private:
  using Order = std::list<KeptPrefix>;  // newest use first

  Order::iterator lookup(uint64_t hash, std::span<const int32_t> tokens);

  uint64_t most_bytes_, bytes_ = 0;
  Order order_;
  std::unordered_multimap<uint64_t, Order::iterator> by_hash_;
};

}  // namespace qround
