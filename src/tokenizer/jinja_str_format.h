// `'{} {name!r:>8}'.format(...)`, as Python's str.format.
#pragma once

#include <string>

#include "tokenizer/jinja_function.h"

namespace qround::jinja {

std::string format_braces(Runtime& runtime, const String& format, const Arguments& arguments);

}  // namespace qround::jinja
