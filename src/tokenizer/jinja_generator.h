// Filters that yield their elements one by one, when they are asked for: Python's generators.
#pragma once

#include "tokenizer/jinja_function.h"
#include "tokenizer/jinja_iteration.h"

namespace qround::jinja {

// What a generator does when its first element is asked for; mistakes in its input show only then.
using Begin = Next (*)(Runtime& runtime, const Value& input, const Arguments& arguments);

Value generator(Runtime& runtime, const Value& input, const Arguments& arguments, Begin begin);

// A filter whose result is the generator.
template <Begin kBegin>
Value lazy(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return generator(runtime, input, arguments, kBegin);
}

Next nothing();
Next each(Value::Items items);

}  // namespace qround::jinja
