// Remembers the tokens of short words, which make up nearly all of any text.
//
// One line of the processor's cache per word, found by hash and overwritten by the next word of the
// same hash: no chains, no growth, no eviction.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace qround {

// Not for several threads at once.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 23;  // bytes
  static constexpr size_t kMostTokens = 9;    // words of more tokens are not kept

  WordCache() : lines_(kLines) {}

  // The tokens of `word`, valid until the next call of `put`; empty when unknown. 1 to kLongestWord
  // bytes.
  std::span<const int32_t> find(std::string_view word) const {
    const Key key = key_of(word);
    const Line& line = lines_[line_of(key)];
    return line.key == key ? std::span(line.ids).first(line.n_ids) : std::span<const int32_t>();
  }

  // Keeps the tokens of a word of at most kLongestWord bytes if there are at most kMostTokens.
  void put(std::string_view word, std::span<const int32_t> ids) {
    if (ids.size() > kMostTokens) return;
    const Key key = key_of(word);
    Line& line = lines_[line_of(key)];
    line.key = key;
    line.n_ids = static_cast<uint32_t>(ids.size());
    std::copy(ids.begin(), ids.end(), line.ids.begin());
  }

 private:
  static constexpr size_t kLines = size_t{1} << 15;  // 2 MiB

  using Key = std::array<uint64_t, 3>;  // the word, zeros, and its length in the last byte
  struct Line {
    Key key{};
    uint32_t n_ids = 0;
    std::array<int32_t, kMostTokens> ids{};
  };
  static_assert(sizeof(Line) == 64);

  static Key key_of(std::string_view word) {
    Key key{};
    const auto length = static_cast<unsigned char>(word.size());
    std::memcpy(key.data(), word.data(), word.size());
    std::memcpy(reinterpret_cast<char*>(key.data()) + kLongestWord, &length, 1);
    return key;
  }
  static size_t line_of(const Key& key) {
    uint64_t hash = key[0] * 0x9E3779B97F4A7C15u;
    hash = (hash ^ (hash >> 32) ^ key[1]) * 0xC2B2AE3D27D4EB4Fu;
    hash = (hash ^ (hash >> 32) ^ key[2]) * 0x165667B19E3779F9u;
    return static_cast<size_t>(hash >> 49);  // 15 bits
  }

  std::vector<Line> lines_;
};

}  // namespace qround
