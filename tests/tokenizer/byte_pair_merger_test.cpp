#include "tokenizer/byte_pair_merger.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace qround {
namespace {

std::array<int32_t, 256> one_id_per_byte() {
  std::array<int32_t, 256> ids;
  for (int32_t byte = 0; byte < 256; ++byte) ids[byte] = byte;
  return ids;
}

// Merges the leftmost pair of lowest rank until there is none, over plain vectors.
std::vector<int32_t> merge_naively(std::string_view word, const std::vector<TokenMerge>& merges) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t rank = 0; rank < merges.size(); ++rank)
    ranks[{merges[rank].left, merges[rank].right}] = rank;
  std::vector<int32_t> ids;
  for (const char c : word) ids.push_back(static_cast<unsigned char>(c));
  while (true) {
    size_t best_rank = merges.size(), best = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rank = ranks.find({ids[i], ids[i + 1]});
      if (rank != ranks.end() && rank->second < best_rank) best_rank = rank->second, best = i;
    }
    if (best_rank == merges.size()) return ids;
    ids[best] = merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

// Merges over three letters, with distinct results for distinct strings as a vocabulary has them.
std::vector<TokenMerge> random_merges(std::mt19937& random) {
  std::map<std::string, int32_t> ids = {{"a", 'a'}, {"b", 'b'}, {"c", 'c'}};
  std::vector<std::string> tokens = {"a", "b", "c"};
  std::vector<TokenMerge> merges;
  for (int i = 0; i < 40; ++i) {
    const std::string left = tokens[random() % tokens.size()],
                      right = tokens[random() % tokens.size()];
    const auto [entry, is_new] = ids.try_emplace(left + right, 256 + i);
    if (is_new) tokens.push_back(left + right);
    merges.push_back({ids[left], ids[right], entry->second});
  }
  return merges;
}

TEST(BytePairMerger, EqualsTheNaiveAlgorithmOnShortAndLongWords) {
  std::mt19937 random(5);
  BytePairMerger::Scratch scratch;
  for (int round = 0; round < 300; ++round) {
    const std::vector<TokenMerge> merges = random_merges(random);
    const BytePairMerger merger(one_id_per_byte(), merges);
    for (const size_t longest : {8, 90, 300}) {
      std::string word;
      for (size_t length = 1 + random() % longest; length > 0; --length)
        word += static_cast<char>('a' + random() % 3);
      std::vector<int32_t> ids;
      merger.encode(word, scratch, ids);
      ASSERT_EQ(ids, merge_naively(word, merges)) << word;
    }
  }
}

TEST(BytePairMerger, OfEqualPairsTheLeftmostMergesFirst) {
  const BytePairMerger merger(one_id_per_byte(), {{'a', 'a', 256}});
  BytePairMerger::Scratch scratch;
  for (const size_t length : {3u, 5u, 201u}) {
    std::vector<int32_t> ids;
    merger.encode(std::string(length, 'a'), scratch, ids);
    std::vector<int32_t> expected(length / 2, 256);
    expected.push_back('a');
    EXPECT_EQ(ids, expected);
  }
}

TEST(BytePairMerger, AppendsAndDropsBytesWithoutToken) {
  std::array<int32_t, 256> ids = one_id_per_byte();
  ids['x'] = -1;
  const BytePairMerger merger(ids, {{'a', 'b', 256}});
  BytePairMerger::Scratch scratch;
  std::vector<int32_t> out = {7};
  merger.encode("axb", scratch,
                out);  // the neighbours of a dropped byte merge, as in the reference
  merger.encode("x", scratch, out);
  EXPECT_EQ(out, (std::vector<int32_t>{7, 256}));
}

TEST(BytePairMerger, APairListedTwiceKeepsItsLaterRank) {
  const BytePairMerger merger(one_id_per_byte(),
                              {{'a', 'b', 256}, {'b', 'c', 257}, {'a', 'b', 256}});
  BytePairMerger::Scratch scratch;
  std::vector<int32_t> out;
  merger.encode("abc", scratch, out);
  EXPECT_EQ(out, (std::vector<int32_t>{'a', 257}));
}

}  // namespace
}  // namespace qround
