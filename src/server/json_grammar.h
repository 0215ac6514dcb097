// JSON schemas as grammars: every text of the grammar is JSON that fits the schema.
//
// The reverse does not hold, and need not: of all texts that fit, the grammar admits those a model
// would write. Properties come in the schema's order, properties a schema does not declare are left
// out, numbers have at most 16 digits before and 15 after the point, blanks are those of common
// styles. A keyword that would restrict the value and is not supported is refused by name.
#pragma once

#include "base/json.h"
#include "server/grammar.h"

namespace qround::server {

// Any JSON object.
Grammar json_object_grammar();

// Throws ApiError 400 naming place and keyword that are not supported, or saying that no finite
// value fits.
Grammar json_schema_grammar(const Json& schema);

}  // namespace qround::server
