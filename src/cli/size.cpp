#include "cli/size.h"

#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace qround {

uint64_t parse_size(const std::string& text) {
  const Error malformed =
      Error("not a size").expected("a number with K, M, G or T, such as 4G").actual(text);
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || !(number > 0) || number > 1e18) throw malformed;
  const std::string unit(end, text.data() + text.size());
  constexpr std::string_view kUnits = "KMGT";
  if (unit.empty()) return static_cast<uint64_t>(number);
  const size_t power =
      kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0]))));
  if (unit.size() > 2 || power == std::string_view::npos ||
      (unit.size() == 2 && unit[1] != 'B' && unit[1] != 'b'))
    throw malformed;
  return static_cast<uint64_t>(number * std::pow(1024.0, static_cast<double>(power + 1)));
}

}  // namespace qround
