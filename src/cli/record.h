// Where the results of a command that measures go, besides its output.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.h"

namespace qround {

// Sets `member` of the report `named`, begun if there is none; without a name, of the report that
// `quantize` left in `directory`, if it did. That one may lie where nothing can be written: then it
// is left as it is, and standard error says so. Throws Error for a `named` report that cannot be
// written.
void record_results(const std::filesystem::path& directory, const std::string& named,
                    std::string_view member, Json results);

}  // namespace qround
