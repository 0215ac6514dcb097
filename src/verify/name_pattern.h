// A key of extra_config or `dynamic` read as a regular expression over module names.
//
// Most keys in the wild are literals with wildcards around them (".*shared_expert.*", or a whole
// name whose dots are not escaped). These are matched directly: a network of 256 experts has 30,000
// names, and std::regex takes microseconds for each. The rest goes to std::regex, whose ECMAScript
// grammar agrees with Python's `re` but for lookbehind, named groups and \A, \Z: such a key counts
// as one that does not compile, and a rule says so.
#pragma once

#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace qround::verify {

// Whether vLLM and SGLang read a key as an expression: a dot alone does not make one.
bool has_regex_characters(std::string_view key);

class NamePattern {
 public:
  explicit NamePattern(std::string_view expression);

  bool valid() const { return valid_; }
  bool search(std::string_view name) const;      // somewhere in the name; false unless valid()
  bool full_match(std::string_view name) const;  // the whole name; false unless valid()

 private:
  // One character of a literal; nullopt: any.
  using Atoms = std::vector<std::optional<char>>;

  bool parse_literal(std::string_view expression);
  bool matches_at(std::string_view name, size_t begin) const;

  bool valid_ = true;
  bool literal_ = false;
  bool open_front_ = false, open_back_ = false;  // ".*" stood there
  Atoms atoms_;
  std::regex regex_;  // unless literal_
};

}  // namespace qround::verify
