// What a template can call besides its own macros: methods, filters and global functions.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// What native code needs of the rendering that calls it. Lives as long as any value of that
// rendering.
struct Runtime {
  Budget& budget;
  const std::function<std::tm()>& clock;  // empty: strftime_now is not defined
  // Every namespace made; they may hold themselves, so the rendering clears them at its end.
  std::vector<std::shared_ptr<Namespace>> namespaces;

  // A string whose bytes have not been charged yet.
  Value text(std::string bytes, bool markup = false) {
    budget.produce(bytes.size());
    return Value::string(std::move(bytes), markup);
  }
  Value list(Value::Items items) {
    budget.produce(items.size(), sizeof(Value));
    return Value::list(std::move(items));
  }
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* find_named(std::string_view name) const;
};

// A method gets its object as `self`, a filter its input; a global function gets None.
using Native = Value (*)(Runtime& runtime, const Value& self, const Arguments& arguments);

struct Function {
  std::string_view name;  // a literal
  Native native;
  Value self;
};

// Arguments by parameter, bound as Python binds them; throws Error (Python's TypeError) when they
// do not fit.
class Parameters {
 public:
  // The first `n_required` of `names` have no default. `function` is named in errors.
  Parameters(std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names, size_t n_required = 0);

  // nullptr when the argument was not given.
  const Value* find(size_t index) const { return values_[index]; }
  const Value& at(size_t index) const { return *values_[index]; }  // of a required one
  bool flag(size_t index, bool fallback = false) const;            // Python's truth
  // Throws Error when the argument is neither an integer nor, with a fallback, absent.
  int64_t integer(size_t index) const;
  int64_t integer(size_t index, int64_t fallback) const;
  const String& string(size_t index) const;
  bool is_given(size_t index) const;  // present and not None

 private:
  std::string_view function_;
  std::vector<const Value*> values_;
};

// For functions without parameters.
void refuse_arguments(std::string_view function, const Arguments& arguments);

}  // namespace qround::jinja
