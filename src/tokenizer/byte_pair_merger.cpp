#include "tokenizer/byte_pair_merger.h"

#include <algorithm>
#include <functional>

namespace qround {
namespace {

// Where the heap begins to win; measured flat between 50 and 150 bytes.
constexpr size_t kLongestShortWord = 96;

}  // namespace

BytePairMerger::BytePairMerger(const std::array<int32_t, 256>& byte_ids,
                               const std::vector<TokenMerge>& merges)
    : byte_ids_(byte_ids), ranks_(merges.size()) {
  results_.reserve(merges.size());
  for (const TokenMerge& merge : merges) {
    ranks_.set(merge.left, merge.right, static_cast<uint32_t>(results_.size()));
    results_.push_back(merge.result);
  }
}

void BytePairMerger::encode(std::string_view word, Scratch& scratch,
                            std::vector<int32_t>& out) const {
  std::vector<int32_t>& ids = scratch.ids;
  ids.clear();
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) ids.push_back(id);
  }
  if (ids.size() > 1) {
    scratch.ranks.resize(ids.size());  // ranks[i]: of the pair (i, i + 1)
    for (size_t i = 0; i + 1 < ids.size(); ++i) scratch.ranks[i] = ranks_.find(ids[i], ids[i + 1]);
    scratch.ranks.back() = PairRanks::kNone;
    ids.size() <= kLongestShortWord ? merge_short(scratch) : merge_long(scratch);
  }
  out.insert(out.end(), ids.begin(), ids.end());
}

void BytePairMerger::merge_short(Scratch& scratch) const {
  int32_t* const ids = scratch.ids.data();
  uint32_t* const ranks = scratch.ranks.data();
  size_t size = scratch.ids.size();
  while (true) {
    const size_t best = static_cast<size_t>(std::min_element(ranks, ranks + size) - ranks);
    if (ranks[best] == PairRanks::kNone) break;
    ids[best] = results_[ranks[best]];
    std::copy(ids + best + 2, ids + size, ids + best + 1);
    std::copy(ranks + best + 2, ranks + size, ranks + best + 1);
    --size;
    if (best > 0) ranks[best - 1] = ranks_.find(ids[best - 1], ids[best]);
    ranks[best] = best + 1 < size ? ranks_.find(ids[best], ids[best + 1]) : PairRanks::kNone;
  }
  scratch.ids.resize(size);
}

// The tokens form a linked list over their first bytes. The heap holds rank << 32 | position; an
// entry whose rank is no longer the one noted at its position is out of date.
void BytePairMerger::merge_long(Scratch& scratch) const {
  std::vector<int32_t>&ids = scratch.ids, &previous = scratch.previous, &next = scratch.next;
  std::vector<uint32_t>& ranks = scratch.ranks;
  std::vector<uint64_t>& heap = scratch.heap;
  const auto size = static_cast<int32_t>(ids.size());
  previous.resize(ids.size());
  next.resize(ids.size());
  heap.clear();
  for (int32_t i = 0; i < size; ++i) {
    previous[i] = i - 1;
    next[i] = i + 1;
    if (ranks[i] != PairRanks::kNone)
      heap.push_back(uint64_t{ranks[i]} << 32 | static_cast<uint32_t>(i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  const auto rate_pair = [&](int32_t left) {
    const int32_t right = next[left];
    ranks[left] = right < size ? ranks_.find(ids[left], ids[right]) : PairRanks::kNone;
    if (ranks[left] == PairRanks::kNone) return;
    heap.push_back(uint64_t{ranks[left]} << 32 | static_cast<uint32_t>(left));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    const auto left = static_cast<int32_t>(heap.back() & UINT32_MAX);
    heap.pop_back();
    if (ranks[left] != rank) continue;
    const int32_t right = next[left];
    ids[left] = results_[rank];
    ranks[right] = PairRanks::kNone;
    next[left] = next[right];
    if (next[left] < size) previous[next[left]] = left;
    rate_pair(left);
    if (previous[left] >= 0) rate_pair(previous[left]);
  }

  size_t n_tokens = 0;
  for (int32_t i = 0; i < size; i = next[i]) ids[n_tokens++] = ids[i];
  ids.resize(n_tokens);
}

}  // namespace qround
