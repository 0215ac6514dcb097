#include "tokenizer/unicode_classes.h"

#include <vector>

#include "tokenizer/unicode_ranges.h"

namespace qround {
namespace {

void mark_ranges(const uint32_t* ranges, uint8_t flag, std::vector<uint8_t>& table) {
  for (uint32_t range_idx = 0; range_idx < ranges[0]; ++range_idx) {
    const uint32_t first = ranges[2 * range_idx + 1], last = ranges[2 * range_idx + 2];
    for (uint32_t code = first; code <= last; ++code) table[code] |= flag;
  }
}

std::vector<uint8_t> build_table() {
  std::vector<uint8_t> table(0x110000);
  mark_ranges(kLetterRanges, kLetter, table);
  mark_ranges(kMarkRanges, kMark, table);
  mark_ranges(kNumberRanges, kNumber, table);
  mark_ranges(kSpaceRanges, kSpace, table);
  mark_ranges(kNfcActiveRanges, kNfcActive, table);
  return table;
}

}  // namespace

const uint8_t* unicode_classes() {
  static const std::vector<uint8_t> table = build_table();
  return table.data();
}

}  // namespace qround
