// The `attribute` argument of filters: "name", "address.city", "0", an index.
#pragma once

#include <vector>

#include "tokenizer/jinja_function.h"

namespace qround::jinja {

class AttributePath {
 public:
  AttributePath() = default;  // the value itself
  // A string is split at its dots, digits become indices; None is the value itself.
  explicit AttributePath(const Value& attribute);

  Value get(Runtime& runtime, Value value) const;
  // The same, with `fallback` wherever an element of the path is undefined.
  Value get(Runtime& runtime, Value value, const Value& fallback) const;

 private:
  std::vector<Value> parts_;
};

// Text in lower case, for comparing without regard to case; other values as they are.
Value without_case(Runtime& runtime, const Value& value);

}  // namespace qround::jinja
