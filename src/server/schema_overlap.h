// Whether one value may fit several schemas of a list, which "oneOf" forbids.
#pragma once

#include "base/json.h"

namespace qround::server {

// False only when it is certain that no value fits two of `schemas`: their types differ, their
// fixed values differ, or they require a common property whose fixed values differ.
bool may_overlap(const Json& schemas, const Json& root);

}  // namespace qround::server
