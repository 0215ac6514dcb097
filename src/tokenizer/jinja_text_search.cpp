#include "tokenizer/jinja_text_search.h"

#include <algorithm>

#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

template <typename Removable>
std::string_view strip_if(std::string_view text, Side side, Removable removable) {
  size_t begin = 0;
  size_t end = text.size();
  while (side != Side::right && begin < end) {
    size_t after = begin;
    if (!removable(next_code_point(text, after))) break;
    begin = after;
  }
  while (side != Side::left && begin < end) {
    const size_t before = previous_code_point(text, end);
    size_t after = before;
    if (!removable(next_code_point(text, after))) break;
    end = before;
  }
  return text.substr(begin, end - begin);
}

bool may_split(const std::vector<std::string_view>& parts, int64_t max_splits) {
  return max_splits < 0 || parts.size() < static_cast<size_t>(max_splits);
}

// The end of the run of characters from `offset` on that are, or are not, white space.
size_t run_end(std::string_view text, size_t offset, bool space) {
  while (offset < text.size()) {
    size_t after = offset;
    if (is_space(next_code_point(text, after)) != space) break;
    offset = after;
  }
  return offset;
}

size_t run_begin(std::string_view text, size_t offset, bool space) {
  while (offset > 0) {
    const size_t before = previous_code_point(text, offset);
    size_t after = before;
    if (is_space(next_code_point(text, after)) != space) break;
    offset = before;
  }
  return offset;
}

std::vector<std::string_view> split_words_from_left(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> parts;
  for (text = strip(text, Side::left); !text.empty(); text = strip(text, Side::left)) {
    if (!may_split(parts, max_splits)) {
      parts.push_back(text);
      break;
    }
    const size_t end = run_end(text, 0, false);
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split_words_from_right(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> parts;
  for (text = strip(text, Side::right); !text.empty(); text = strip(text, Side::right)) {
    if (!may_split(parts, max_splits)) {
      parts.push_back(text);
      break;
    }
    const size_t begin = run_begin(text, text.size(), false);
    parts.push_back(text.substr(begin));
    text = text.substr(0, begin);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

std::string_view strip(std::string_view text, Side side) { return strip_if(text, side, is_space); }

std::string_view strip(std::string_view text, Side side, std::string_view chars) {
  std::u32string removable;
  for (size_t offset = 0; offset < chars.size();) removable += next_code_point(chars, offset);
  return strip_if(text, side,
                  [&](char32_t c) { return removable.find(c) != std::u32string::npos; });
}

std::vector<std::string_view> split_words(std::string_view text, int64_t max_splits, Side from) {
  return from == Side::right ? split_words_from_right(text, max_splits)
                             : split_words_from_left(text, max_splits);
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator,
                                    int64_t max_splits, Side from) {
  std::vector<std::string_view> parts;
  if (from == Side::right) {
    while (may_split(parts, max_splits)) {
      const size_t at = text.rfind(separator);
      if (at == std::string_view::npos) break;
      parts.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    }
    parts.push_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  while (may_split(parts, max_splits)) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t offset = 0; offset < text.size();) {
    const size_t end = offset;
    const char32_t c = next_code_point(text, offset);
    if (!is_line_break(c)) continue;
    if (c == '\r' && offset < text.size() && text[offset] == '\n') ++offset;
    lines.push_back(text.substr(begin, (keep_ends ? offset : end) - begin));
    begin = offset;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

size_t count_occurrences(std::string_view text, std::string_view part) {
  if (part.empty()) return count_code_points(text) + 1;
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

std::string replace(std::string_view text, std::string_view old_part, std::string_view new_part,
                    int64_t max_count) {
  std::string out;
  size_t offset = 0;
  for (int64_t done = 0; max_count < 0 || done < max_count; ++done) {
    const size_t at = text.find(old_part, offset);
    if (at == std::string_view::npos) break;
    size_t after = at + old_part.size();
    out.append(text, offset, at - offset);
    out += new_part;
    if (old_part.empty()) {
      if (at == text.size()) return out;
      next_code_point(text, after);
      out.append(text, at, after - at);
    }
    offset = after;
  }
  return out.append(text, offset);
}

}  // namespace qround::jinja
