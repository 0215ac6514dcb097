// Byte pair encoding of one word: starting from one token per byte, the adjacent pair of lowest
// rank (of equals the leftmost) is merged until no pair can be.
//
// Short words scan all pairs for the lowest rank at every step, which is fastest as everything
// stays in one cache line or two. Long words (a megabyte without a space) keep the pairs in a heap:
// O(n log n) for n bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/pair_ranks.h"

namespace qround {

// A merge replaces `left` `right` by `result`; its rank is its place in the list.
struct TokenMerge {
  int32_t left, right, result;
};

// Immutable once built.
class BytePairMerger {
 public:
  // Buffers that a caller keeps between words; one per thread.
  struct Scratch {
    std::vector<int32_t> ids, previous, next;
    std::vector<uint32_t> ranks;
    std::vector<uint64_t> heap;
  };

  // byte_ids[b]: the token of the single byte b, or -1. Bytes without a token are dropped, as the
  // reference drops them.
  BytePairMerger(const std::array<int32_t, 256>& byte_ids, const std::vector<TokenMerge>& merges);

  // Appends the tokens of `word` to `out`. Words have less than 2^31 bytes.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const;

 private:
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_;
  PairRanks ranks_;
  std::vector<int32_t> results_;  // by rank
};

}  // namespace qround
