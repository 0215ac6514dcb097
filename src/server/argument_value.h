// The JSON value of a tool call's argument, which the model writes as bare text.
//
// The schema decides: for a string the text itself, for other types the value it spells. Where the
// schema allows several types, anything but a string is tried first; where it says nothing, text
// that is JSON counts as such. Text that spells no allowed value stays a string: nothing is lost,
// and the caller's own check of the arguments sees what the model wrote.
#pragma once

#include <string_view>

#include "base/json.h"

namespace qround::server {

// `schema` is of the parameter, nullptr when the tool does not declare it; `root` is the schema of
// all parameters, for "$ref": "#/…".
Json argument_value(std::string_view text, const Json* schema, const Json& root);

}  // namespace qround::server
