// The style sheet of the report page.
#pragma once

#include <string_view>

namespace qround::report {

extern const std::string_view kPageStyle;

}  // namespace qround::report
