#include "verify/name_pattern.h"

#include <algorithm>
#include <cctype>

namespace qround::verify {
namespace {

constexpr std::string_view kSpecial = "*+?^$()[]{}|\\";
constexpr std::string_view kAnything = ".*";

}  // namespace

bool has_regex_characters(std::string_view key) {
  return key.find_first_of(kSpecial) != std::string_view::npos;
}

NamePattern::NamePattern(std::string_view expression) {
  literal_ = parse_literal(expression);
  if (literal_) return;
  try {
    regex_.assign(expression.begin(), expression.end(), std::regex::ECMAScript);
  } catch (const std::regex_error&) {
    valid_ = false;
  }
}

bool NamePattern::parse_literal(std::string_view expression) {
  while (expression.starts_with(kAnything)) {
    open_front_ = true;
    expression.remove_prefix(kAnything.size());
  }
  const auto ends_open = [&] {
    return expression.ends_with(kAnything) && !expression.ends_with("\\.*");
  };
  while (ends_open()) {
    open_back_ = true;
    expression.remove_suffix(kAnything.size());
  }
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\') {
      // "\." is a dot; "\d" and the like are no literals.
      if (++i == expression.size() || std::isalnum(static_cast<unsigned char>(expression[i])) != 0)
        return false;
      atoms_.emplace_back(expression[i]);
    } else if (c == '.') {
      atoms_.emplace_back(std::nullopt);
    } else if (kSpecial.find(c) == std::string_view::npos) {
      atoms_.emplace_back(c);
    } else {
      return false;
    }
  }
  return true;
}

bool NamePattern::matches_at(std::string_view name, size_t begin) const {
  if (begin + atoms_.size() > name.size()) return false;
  for (size_t i = 0; i < atoms_.size(); ++i) {
    if (atoms_[i] && *atoms_[i] != name[begin + i]) return false;
  }
  return true;
}

bool NamePattern::search(std::string_view name) const {
  if (!valid_) return false;
  if (!literal_) return std::regex_search(name.begin(), name.end(), regex_);
  for (size_t begin = 0; begin + atoms_.size() <= name.size(); ++begin) {
    if (matches_at(name, begin)) return true;
  }
  return false;
}

bool NamePattern::full_match(std::string_view name) const {
  if (!valid_) return false;
  if (!literal_) return std::regex_match(name.begin(), name.end(), regex_);
  if (open_front_ && open_back_) return search(name);
  if (name.size() < atoms_.size()) return false;
  if (open_front_) return matches_at(name, name.size() - atoms_.size());
  return (open_back_ || name.size() == atoms_.size()) && matches_at(name, 0);
}

}  // namespace qround::verify
