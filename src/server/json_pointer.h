// "$ref" inside one document: "#", "#/$defs/Name", with the escapes of RFC 6901 and of URIs.
#pragma once

#include <string_view>

#include "base/json.h"

namespace qround::server {

// The value `reference` names, or nullptr: not inside this document, or not there.
const Json* find_reference(const Json& root, std::string_view reference);

}  // namespace qround::server
