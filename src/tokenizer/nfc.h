// Unicode Normalization Form C, equal to the reference tokenizer's.
#pragma once

#include <string>
#include <string_view>

namespace qround {

// The NFC of valid UTF-8: `text` itself where nothing changes (almost always), else a view of
// `buffer`, which is overwritten. Linear in the length of the text but for sorting runs of marks.
std::string_view to_nfc(std::string_view text, std::string& buffer);

}  // namespace qround
