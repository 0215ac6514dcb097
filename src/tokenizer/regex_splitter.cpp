#include "tokenizer/regex_splitter.h"

#include <oniguruma.h>

#include <mutex>

#include "base/error.h"
#include "tokenizer/unicode_ranges.h"
#include "tokenizer/utf8.h"

namespace qround {
namespace {

std::string message_of(int code, const OnigErrorInfo* info = nullptr) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length =
      info ? onig_error_code_to_str(text, code, info) : onig_error_code_to_str(text, code);
  return std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(length));
}

// Oniguruma takes the ranges without const but only reads them.
void define_property(const char* name, const uint32_t* ranges) {
  onig_unicode_define_user_property(name, const_cast<OnigCodePoint*>(ranges));
}

// The system's Oniguruma may know another version of Unicode than the reference's; these three
// classes, which every split pattern uses, are given the reference's sets.
void initialize_once() {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
    define_property("L", kLetterRanges);
    define_property("M", kMarkRanges);
    define_property("N", kNumberRanges);
  });
}

const OnigUChar* as_onig(const char* text) { return reinterpret_cast<const OnigUChar*>(text); }

struct FreeRegion {
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
};
using Region = std::unique_ptr<OnigRegion, FreeRegion>;

// The first match at or after `from`; false when there is none.
bool search(OnigRegex regex, std::string_view text, size_t from, OnigRegion* region) {
  const OnigUChar* begin = as_onig(text.data());
  const OnigUChar* end = begin + text.size();
  const int found = onig_search(regex, begin, end, begin + from, end, region, ONIG_OPTION_NONE);
  if (found == ONIG_MISMATCH) return false;
  if (found < 0) throw Error("cannot split the text into words").actual(message_of(found));
  return true;
}

}  // namespace

void RegexSplitter::Free::operator()(void* regex) const {
  onig_free(static_cast<OnigRegex>(regex));
}

RegexSplitter::RegexSplitter(const std::string& pattern) {
  initialize_once();
  OnigRegex regex = nullptr;
  OnigErrorInfo info;
  const OnigUChar* begin = as_onig(pattern.data());
  const int code = onig_new(&regex, begin, begin + pattern.size(), ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8, ONIG_SYNTAX_RUBY, &info);
  if (code != ONIG_NORMAL) {
    throw Error("bad regular expression: " + message_of(code, &info)).actual(pattern);
  }
  regex_.reset(regex);
}

void RegexSplitter::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  const auto add = [&](size_t begin, size_t end) {
    if (begin != end) pieces.push_back(text.substr(begin, end - begin));
  };
  const Region region(onig_region_new());
  size_t done = 0;  // end of the last piece
  size_t from = 0;
  bool any_match = false;
  while (from <= text.size() &&
         search(static_cast<OnigRegex>(regex_.get()), text, from, region.get())) {
    const auto begin = static_cast<size_t>(region->beg[0]),
               end = static_cast<size_t>(region->end[0]);
    if (begin == end && any_match && end == done) {  // an empty match right after a match is none
      if (from >= text.size()) break;
      from += read_utf8(text.data() + from).length;
      continue;
    }
    add(done, begin);
    add(begin, end);
    done = from = end;
    any_match = true;
  }
  add(done, text.size());
}

}  // namespace qround
