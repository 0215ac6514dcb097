#include "server/token_tries.h"

#include <algorithm>
#include <optional>

#include "tokenizer/utf8.h"

namespace qround::server {
namespace {

// Several tokens may have the same bytes; one walk must set them all, so duplicates hang below
// their first one as nodes of the same depth.
constexpr size_t kMaxTokenBytes = 60'000;

// Characters of a plain token; nullopt: not plain.
std::optional<uint32_t> plain_characters(std::string_view bytes) {
  if (!is_utf8(bytes)) return std::nullopt;
  uint32_t count = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == '"' || byte == '\\') return std::nullopt;
    if ((byte & 0xC0) != 0x80) ++count;
  }
  return count;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(most), b.begin()).first -
      a.begin());
}

}  // namespace

void TokenMask::add(const TokenMask& other) {
  for (size_t i = 0; i < std::min(words_.size(), other.words_.size()); ++i) {
    words_[i] |= other.words_[i];
  }
}

bool TokenMask::none() const {
  return std::all_of(words_.begin(), words_.end(), [](uint64_t word) { return word == 0; });
}

TokenTries::TokenTries(const Tokenizer& tokenizer)
    : vocab_size_(tokenizer.vocab_size()), plain_(vocab_size_) {
  std::vector<Entry> all, special;
  for (size_t id = 0; id < vocab_size_; ++id) {
    const auto token = static_cast<int32_t>(id);
    const std::string_view bytes = tokenizer.id_to_token(token);
    if (bytes.empty() || bytes.size() > kMaxTokenBytes || tokenizer.is_special(token)) continue;
    all.push_back({bytes, token});
    if (const auto characters = plain_characters(bytes)) {
      plain_.set(token);
      longest_plain_ = std::max(longest_plain_, *characters);
    } else {
      special.push_back({bytes, token});
    }
  }
  all_ = build(std::move(all));
  special_ = build(std::move(special));
}

TokenTries::Trie TokenTries::build(std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.bytes < b.bytes; });
  Trie trie;
  std::vector<uint32_t> path;  // nodes from the first byte to the last one of `previous`
  const auto close_to = [&](size_t depth) {
    while (path.size() > depth) {
      trie[path.back()].behind = static_cast<uint32_t>(trie.size());
      path.pop_back();
    }
  };
  std::string_view previous;
  for (const Entry& entry : entries) {
    size_t shared = common_prefix(previous, entry.bytes);
    // The same bytes again: one more node for the last byte.
    if (shared == entry.bytes.size()) --shared;
    close_to(shared);
    for (size_t i = shared; i < entry.bytes.size(); ++i) {
      path.push_back(static_cast<uint32_t>(trie.size()));
      trie.push_back({.behind = 0,
                      .token = -1,
                      .depth = static_cast<uint16_t>(i + 1),
                      .byte = static_cast<uint8_t>(entry.bytes[i])});
    }
    trie.back().token = entry.token;
    previous = entry.bytes;
  }
  close_to(0);
  return trie;
}

void TokenTries::walk(const Trie& trie, GrammarMatcher& matcher, GrammarMatcher::State state,
                      TokenMask& mask) {
  std::vector<GrammarMatcher::State> states = {state};
  for (uint32_t i = 0; i < trie.size();) {
    const TrieNode& node = trie[i];
    states.resize(node.depth);
    const GrammarMatcher::State next = matcher.advance(states.back(), node.byte);
    if (next == GrammarMatcher::kDead) {
      i = node.behind;
      continue;
    }
    if (node.token >= 0) mask.set(node.token);
    states.push_back(next);
    ++i;
  }
}

TokenMask TokenTries::allowed(GrammarMatcher& matcher, GrammarMatcher::State state) const {
  TokenMask mask(vocab_size_);
  if (matcher.plain_run(state) >= longest_plain_ && longest_plain_ > 0) {
    mask.add(plain_);
    walk(special_, matcher, state, mask);
  } else {
    walk(all_, matcher, state, mask);
  }
  return mask;
}

}  // namespace qround::server
