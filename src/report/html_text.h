// Text and numbers as HTML.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace qround::report {

// With &, <, > and both quotes escaped.
std::string escaped(std::string_view text);

// A number of the report: shown with `digits` significant digits, its exact value beside it for
// programs (<data value="...">). Anything else than a number shows as a dash.
std::string number_html(const Json* value, int digits = 4);
std::string number_html(double value, int digits = 4);

// value [low, high] of an estimate object.
std::string estimate_html(const Json* estimate, int digits = 4);

// The member at a path of keys, or nullptr.
const Json* member(const Json& object, std::initializer_list<std::string_view> path);
double number_or(const Json* value, double otherwise);

}  // namespace qround::report
