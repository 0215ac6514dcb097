// The vocabulary, ordered so that all tokens a grammar allows are found in one walk.
#pragma once

#include <cstdint>
#include <vector>

#include "server/grammar_matcher.h"
#include "tokenizer/tokenizer.h"

namespace qround::server {

// One bit per token.
class TokenMask {
 public:
  explicit TokenMask(size_t tokens = 0) : words_((tokens + 63) / 64) {}
  void set(int32_t token) { words_[word(token)] |= bit(token); }
  bool test(int32_t token) const {
    return word(token) < words_.size() && (words_[word(token)] & bit(token)) != 0;
  }
  void add(const TokenMask& other);
  bool none() const;
  const std::vector<uint64_t>& words() const { return words_; }

 private:
  static size_t word(int32_t token) { return static_cast<size_t>(token) / 64; }
  static uint64_t bit(int32_t token) { return uint64_t{1} << (token % 64); }

  std::vector<uint64_t> words_;
};

// Immutable; any number of threads may use it, each with its own matcher.
class TokenTries {
 public:
  // Special tokens are part of no text.
  explicit TokenTries(const Tokenizer& tokenizer);

  // The tokens that may follow in `state`. Adds states to the matcher.
  TokenMask allowed(GrammarMatcher& matcher, GrammarMatcher::State state) const;

  size_t vocab_size() const { return vocab_size_; }

 private:
  // A node of a trie in the order of a walk: children follow their parent.
  struct TrieNode {
    uint32_t behind = 0;  // index of the first node that is no descendant
    int32_t token = -1;   // the token that ends here
    uint16_t depth = 0;   // 1: first byte
    uint8_t byte = 0;
  };
  using Trie = std::vector<TrieNode>;
  struct Entry {
    std::string_view bytes;
    int32_t token;
  };

  static Trie build(std::vector<Entry> entries);
  static void walk(const Trie& trie, GrammarMatcher& matcher, GrammarMatcher::State state,
                   TokenMask& mask);

  size_t vocab_size_;
  Trie all_, special_;  // all tokens; those that are not plain
  // Tokens of whole characters that mean nothing inside a JSON string: no quote, backslash or
  // control character.
  TokenMask plain_;
  uint32_t longest_plain_ = 0;  // in characters
};

}  // namespace qround::server
