#include "quant/module_pattern.h"

namespace qround::quant {

// Greedy with one point of return: only the last `*` can be worth extending, because everything
// before it has matched the shortest way already. Linear in practice, quadratic at worst.
bool matches_module(std::string_view pattern, std::string_view module) {
  size_t p = 0, m = 0;
  size_t star = std::string_view::npos, star_module = 0;
  while (true) {
    if (p == pattern.size() && (m == module.size() || module[m] == '.')) return true;
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_module = m;
    } else if (p < pattern.size() && m < module.size() &&
               (pattern[p] == '?' || pattern[p] == module[m])) {
      ++p, ++m;
    } else if (star != std::string_view::npos && star_module < module.size()) {
      p = star + 1;
      m = ++star_module;
    } else {
      return false;
    }
  }
}

}  // namespace qround::quant
