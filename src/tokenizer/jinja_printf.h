// `format % arguments`, as Python formats strings with it.
#pragma once

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// `arguments`: a tuple of positional ones, a dict for %(name)s, or the only one. Throws Error with
// Python's message when they do not fit the format. A format marked safe escapes what it inserts.
Value format_printf(Budget& budget, const Value& format, const Value& arguments);

}  // namespace qround::jinja
