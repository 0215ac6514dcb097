#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode_classes.h"
#include "tokenizer/utf8.h"

namespace qround {
namespace {

bool is_space(uint32_t code) { return (unicode_classes()[code] & kSpace) != 0; }

size_t skip_space_right(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    const Utf8Char character = read_utf8(text.data() + pos);
    if (!is_space(character.code)) break;
    pos += character.length;
  }
  return pos;
}

size_t skip_space_left(std::string_view text, size_t pos) {
  while (pos > 0) {
    size_t before = pos - 1;
    while ((static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
    if (!is_space(read_utf8(text.data() + before).code)) break;
    pos = before;
  }
  return pos;
}

bool is_parsed(const AddedToken& token, ParseTokens parse) {
  switch (parse) {
    case ParseTokens::all:
      return true;
    case ParseTokens::non_special:
      return !token.special;
    case ParseTokens::none:
      return false;
  }
  return true;
}

}  // namespace

void AddedTokenMatcher::add(std::string_view pattern, const AddedToken& token) {
  uint32_t node = 0;
  for (const char c : pattern) {
    const auto next_node = static_cast<uint32_t>(token_at_node_.size());
    const uint64_t edge = uint64_t{node} << 8 | static_cast<unsigned char>(c);
    const auto [entry, is_new] = edges_.try_emplace(edge, next_node);
    if (is_new) token_at_node_.push_back(-1);
    node = entry->second;
  }
  starts_[static_cast<unsigned char>(pattern.front())] = true;
  token_at_node_[node] = static_cast<int64_t>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokenMatcher::Candidate AddedTokenMatcher::longest_at(std::string_view text,
                                                           size_t pos) const {
  Candidate longest;
  uint32_t node = 0;
  for (size_t end = pos; end < text.size(); ++end) {
    const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[end]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (const int64_t token_idx = token_at_node_[node]; token_idx >= 0) {
      longest = {end + 1 - pos, static_cast<size_t>(token_idx)};
    }
  }
  return longest;
}

std::vector<AddedTokenMatcher::Match> AddedTokenMatcher::find(std::string_view text,
                                                              ParseTokens parse) const {
  std::vector<Match> matches;
  if (tokens_.empty() || parse == ParseTokens::none) return matches;
  size_t pos = 0, previous_end = 0;
  while (pos < text.size()) {
    const Candidate candidate =
        starts_[static_cast<unsigned char>(text[pos])] ? longest_at(text, pos) : Candidate{};
    if (candidate.length == 0) {
      ++pos;
      continue;
    }
    // A token that is not to be parsed still hides what overlaps it, as in the reference.
    const AddedToken& token = tokens_[candidate.token_idx];
    Match match{pos, pos + candidate.length, token.id};
    pos = match.end;
    if (!is_parsed(token, parse)) continue;
    if (token.lstrip) match.begin = std::max(skip_space_left(text, match.begin), previous_end);
    if (token.rstrip) match.end = skip_space_right(text, match.end);
    previous_end = match.end;
    matches.push_back(match);
  }
  return matches;
}

}  // namespace qround
