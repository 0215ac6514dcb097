// The escapes of string literals.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace qround::jinja {

// The text of a literal given without its quotes, as Python's "unicode-escape" reads it: \n, \x41,
// \u00e9,
// \U0001F600, \101; unknown escapes stay as they are. nullopt, with `error` set, when one is cut
// short.
std::optional<std::string> unescape(std::string_view literal, std::string& error);

}  // namespace qround::jinja
