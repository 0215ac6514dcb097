// NFC in two parts: a scan that finds the few places where anything can happen, and utf8proc on
// those places alone.
//
// A character that NFC neither changes nor reorders nor joins to its predecessor is a boundary:
// what stands before it and what stands after it are normalized independently. So only the runs of
// other ("active") characters, each with the one character before it, which a mark may join, go
// through utf8proc; in most scripts these are rare.
//
// Which characters are active is measured from the reference, whose NFC knows Unicode 9. utf8proc
// knows a later version; a mark or a pair newer than Unicode 9 is not active and so is left alone.
// The same keeps U+11A7 away, which utf8proc 2.8 drops after a Hangul syllable.
//
// Marks are sorted here and not by utf8proc, whose insertion sort is quadratic in the length of a
// run. Tested by tests/tokenizer/nfc_test.cpp.
#include "tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tokenizer/unicode_classes.h"
#include "tokenizer/utf8.h"

namespace qround {
namespace {

int combining_class(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

void append_decomposition(uint32_t code, std::vector<utf8proc_int32_t>& out) {
  constexpr size_t kLongest = 32;  // canonical decompositions have at most 4 characters
  utf8proc_int32_t parts[kLongest];
  int unused_boundary_class = 0;
  const utf8proc_ssize_t n_parts =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts, kLongest,
                              UTF8PROC_DECOMPOSE, &unused_boundary_class);
  out.insert(out.end(), parts, parts + std::clamp<utf8proc_ssize_t>(n_parts, 0, kLongest));
}

// Sorts every run of marks by combining class; equals keep their order, so the sorted words hold
// class, place and code point from high bits to low.
void sort_marks(std::vector<utf8proc_int32_t>& codes) {
  std::vector<uint64_t> run;
  for (size_t begin = 0; begin < codes.size();) {
    run.clear();
    for (size_t pos = begin; pos < codes.size(); ++pos) {
      const int combining = combining_class(codes[pos]);
      if (combining == 0) break;
      run.push_back(uint64_t(combining) << 56 | uint64_t{run.size()} << 21 | uint32_t(codes[pos]));
    }
    std::sort(run.begin(), run.end());
    for (const uint64_t mark : run) codes[begin++] = static_cast<utf8proc_int32_t>(mark & 0x1FFFFF);
    if (run.empty()) ++begin;
  }
}

// `segment`: a run of active characters and, in front, the inactive one they may join.
void append_normalized(std::string_view segment, std::vector<utf8proc_int32_t>& codes,
                       std::string& out) {
  codes.clear();
  const Utf8Char first = read_utf8(segment.data());
  if (!(unicode_classes()[first.code] & kNfcActive) &&
      combining_class(static_cast<utf8proc_int32_t>(first.code)) != 0) {
    // A mark newer than the reference's Unicode: utf8proc would reorder it, the reference does not.
    out += segment.substr(0, first.length);
    segment.remove_prefix(first.length);
  }
  for (size_t pos = 0; pos < segment.size();) {
    const Utf8Char character = read_utf8(segment.data() + pos);
    append_decomposition(character.code, codes);
    pos += character.length;
  }
  sort_marks(codes);
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  const utf8proc_ssize_t n_codes =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), options);
  for (utf8proc_ssize_t i = 0; i < n_codes; ++i) append_utf8(static_cast<uint32_t>(codes[i]), out);
}

bool eight_are_ascii(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return (word & 0x8080808080808080) == 0;
}

// The next active character at or after `from` and the start of the character before it (`from`
// itself where there is none). {size, size}: no active character is left.
struct ActivePlace {
  size_t previous, active;
};

ActivePlace find_active(std::string_view text, size_t from) {
  const uint8_t* classes = unicode_classes();
  size_t previous = from, pos = from;
  while (pos < text.size()) {
    if (pos + 8 <= text.size() && eight_are_ascii(text.data() + pos)) {
      previous = pos + 7;
      pos += 8;
      continue;
    }
    const Utf8Char character = read_utf8(text.data() + pos);
    if (classes[character.code] & kNfcActive) return {previous, pos};
    previous = pos;
    pos += character.length;
  }
  return {text.size(), text.size()};
}

size_t active_run_end(std::string_view text, size_t pos) {
  const uint8_t* classes = unicode_classes();
  while (pos < text.size()) {
    const Utf8Char character = read_utf8(text.data() + pos);
    if (!(classes[character.code] & kNfcActive)) break;
    pos += character.length;
  }
  return pos;
}

}  // namespace

std::string_view to_nfc(std::string_view text, std::string& buffer) {
  ActivePlace place = find_active(text, 0);
  if (place.active == text.size()) return text;
  buffer.clear();
  buffer.reserve(text.size() + 16);
  std::vector<utf8proc_int32_t> codes;
  size_t done = 0;
  while (place.active < text.size()) {
    const size_t end = active_run_end(text, place.active);
    buffer += text.substr(done, place.previous - done);
    append_normalized(text.substr(place.previous, end - place.previous), codes, buffer);
    done = end;
    place = find_active(text, done);
  }
  buffer += text.substr(done);
  return buffer;
}

}  // namespace qround
