// report.json as one HTML page: no network, no scripts, charts as inline SVG; light, dark and
// paper. A section appears when the report has its facts. Every number on the page is one of the
// report's, with its exact value in a <data> element.
#pragma once

#include <string>

#include "base/json.h"

namespace qround::report {

std::string report_page(const Json& report);

}  // namespace qround::report
