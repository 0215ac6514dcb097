#include "tokenizer/family_splitter.h"

#include "tokenizer/unicode_classes.h"
#include "tokenizer/utf8.h"

namespace qround {
namespace {

constexpr std::string_view kPatternWithMarks =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kPatternWithoutMarks =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr uint32_t kLongS = 0x17F;  // folds to "s"

bool is_line_end(char c) { return c == '\r' || c == '\n'; }

// The end of a contraction that begins with the apostrophe at `pos`, or `pos` when there is none.
size_t contraction_end(std::string_view text, size_t pos) {
  const auto lower = [text](size_t i) {
    return i < text.size() ? static_cast<char>(text[i] | 0x20) : '\0';
  };
  const char first = lower(pos + 1), second = lower(pos + 2);
  switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return pos + 2;
    case 'r':
    case 'v':
      return second == 'e' ? pos + 3 : pos;
    case 'l':
      return second == 'l' ? pos + 3 : pos;
    default:
      break;
  }
  if (pos + 2 < text.size() && read_utf8(text.data() + pos + 1).code == kLongS) return pos + 3;
  return pos;
}

}  // namespace

std::optional<FamilySplitter> FamilySplitter::for_pattern(std::string_view pattern) {
  if (pattern == kPatternWithMarks) return FamilySplitter(true);
  if (pattern == kPatternWithoutMarks) return FamilySplitter(false);
  return std::nullopt;
}

FamilySplitter::FamilySplitter(bool marks_join_letters)
    : classes_(unicode_classes()), letters_(marks_join_letters ? kLetter | kMark : kLetter) {}

size_t FamilySplitter::word_end(std::string_view text, size_t begin) const {
  const char* const data = text.data();
  const size_t size = text.size();
  const auto classes_at = [&](size_t pos, size_t* next) {
    const Utf8Char character = read_utf8(data + pos);
    *next = pos + character.length;
    return classes_[character.code];
  };
  // The end of the run of characters from `pos` that have (wanted) or lack (!wanted) these classes.
  const auto run_end = [&](size_t pos, uint8_t mask, bool wanted) {
    for (size_t next = pos; pos < size; pos = next) {
      if (((classes_at(pos, &next) & mask) != 0) != wanted) break;
    }
    return pos;
  };

  const char lead = data[begin];
  if (lead == '\'') {
    if (const size_t end = contraction_end(text, begin); end != begin) return end;
  }
  size_t second = begin;
  const uint8_t first_classes = classes_at(begin, &second);
  if (first_classes & letters_) return run_end(second, letters_, true);
  if (first_classes & kNumber) return second;

  size_t third = second;
  const uint8_t second_classes = second < size ? classes_at(second, &third) : kSpace;
  if (second_classes & letters_ && !is_line_end(lead)) return run_end(third, letters_, true);

  const auto word_class = static_cast<uint8_t>(letters_ | kNumber | kSpace);
  const bool punctuation = !(first_classes & kSpace);
  if (punctuation || (lead == ' ' && !(second_classes & word_class))) {
    size_t end = run_end(second, word_class, false);
    while (end < size && is_line_end(data[end])) ++end;
    return end;
  }

  size_t last_line_end = 0, last_start = begin, pos = begin, next = begin;
  for (; pos < size && (classes_at(pos, &next) & kSpace); pos = next) {
    if (is_line_end(data[pos])) last_line_end = next;
    last_start = pos;
  }
  if (last_line_end != 0) return last_line_end;
  return pos < size && last_start > begin ? last_start : pos;
}

}  // namespace qround
