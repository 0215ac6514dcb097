// Values from JSON, and the filter `tojson`: Python's json.dumps.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// Objects keep the order of their keys; text that is not UTF-8 is repaired with U+FFFD.
Value from_json(const Json& json);

struct JsonStyle {
  std::optional<std::string> indent;  // one level of it; none: everything on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};

// Throws Error "Object of type Undefined is not JSON serializable" for what JSON cannot express.
std::string dump_json(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace qround::jinja
