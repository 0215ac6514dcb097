// Sets of code points as the reference tokenizer sees them, measured from its behaviour (the
// generated unicode_ranges.cpp says how). Layout of each: n, first_1, last_1, ..., first_n, last_n,
// ascending, both ends inclusive; it is the layout Oniguruma takes for a property.
#pragma once

#include <cstdint>

namespace qround {

extern const uint32_t kLetterRanges[];
extern const uint32_t kMarkRanges[];
extern const uint32_t kNumberRanges[];
extern const uint32_t kSpaceRanges[];
extern const uint32_t kNfcActiveRanges[];

}  // namespace qround
