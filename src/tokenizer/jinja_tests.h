// The tests: `value is name(arguments)`.
#pragma once

#include <string_view>

#include "tokenizer/jinja_function.h"

namespace qround::jinja {

using TestFunction = bool (*)(Runtime& runtime, const Value& value, const Arguments& arguments);

// nullptr when there is no such test.
TestFunction find_test(std::string_view name);

}  // namespace qround::jinja
