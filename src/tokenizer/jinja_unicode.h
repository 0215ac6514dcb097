// Text as Python's str sees it, over UTF-8 bytes: code points, white space, letter case, classes.
//
// Every string inside the template engine is valid UTF-8 (to_utf8_lossy at the gate), so the
// functions here need no error path.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace qround::jinja {

size_t count_code_points(std::string_view text);
// The character that starts at `offset`, which moves behind it. Requires offset < text.size().
char32_t next_code_point(std::string_view text, size_t& offset);
// Where the character before `offset` starts. Requires offset > 0.
size_t previous_code_point(std::string_view text, size_t offset);
// Byte offset of the code point with this index; text.size() when there are fewer.
size_t byte_offset(std::string_view text, size_t code_point_index);

bool is_space(char32_t c);       // str.isspace, and what str.strip removes
bool is_line_break(char32_t c);  // what str.splitlines splits at ("\r\n" counts once)
bool is_printable(char32_t c);   // shown as it is by repr()
bool is_alphabetic(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);  // decimals, superscripts and circled digits
bool is_numeric(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);  // the digraphs that are neither upper nor lower case
bool is_identifier_start(char32_t c);
bool is_identifier_part(char32_t c);

// Full mappings, one character may become several ("ß" -> "SS"), the final sigma included.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_case_folded(std::string_view text);
std::string swap_case(std::string_view text);
std::string capitalize(std::string_view text);  // first character in title case, the rest lower
std::string to_title(std::string_view text);    // str.title(): every run of letters capitalized

}  // namespace qround::jinja
