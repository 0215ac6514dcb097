// Commands that turn lines of JSON into lines of JSON.
#pragma once

#include <functional>

#include "base/json.h"

namespace qround {

// For every line of standard input that is not blank: parses it, calls `answer`, prints the result
// as one line on standard output. An Error becomes {"error": message}. Returns 0.
int run_json_lines(const std::function<Json(const Json&)>& answer);

}  // namespace qround
