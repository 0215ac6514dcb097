// Text marked safe for HTML. Automatic escaping is off in chat templates, but a string that went
// through `safe` or `escape` still escapes the strings it is joined with by `+` or `%`, as in the
// reference.
#pragma once

#include <string>

#include "tokenizer/jinja_budget.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// str() of the value with & < > ' " replaced, or untouched when it is markup already.
std::string escaped(Budget& budget, const Value& value);

}  // namespace qround::jinja
