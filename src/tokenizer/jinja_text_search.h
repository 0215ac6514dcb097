// Splitting, stripping, searching and replacing in text, with Python's rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qround::jinja {

enum class Side { left, right, both };

// Without white space at its ends, or without any of the characters of `chars`.
std::string_view strip(std::string_view text, Side side);
std::string_view strip(std::string_view text, Side side, std::string_view chars);

// str.split() and rsplit(): at runs of white space, at most `max_splits` times (negative: no
// limit).
std::vector<std::string_view> split_words(std::string_view text, int64_t max_splits, Side from);
// At each `separator`, which is not empty.
std::vector<std::string_view> split(std::string_view text, std::string_view separator,
                                    int64_t max_splits, Side from);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

// Occurrences that do not overlap; an empty `part` occurs before, between and after all characters.
size_t count_occurrences(std::string_view text, std::string_view part);
// The first `max_count` ones replaced (negative: all).
std::string replace(std::string_view text, std::string_view old_part, std::string_view new_part,
                    int64_t max_count);

}  // namespace qround::jinja
