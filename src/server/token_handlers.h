// The endpoints that need no generation: models and tokens.
#pragma once

#include <string>

#include "base/json.h"
#include "server/server_context.h"

namespace qround::server {

Json list_models(const ServerContext& context);
// Throws ApiError 404.
Json describe_model(const ServerContext& context, const std::string& id);

// POST /tokenize: {"prompt": text} or {"content": text} or {"messages": …}.
Json tokenize(const ServerContext& context, const Json& body);
// POST /detokenize: {"tokens": [ids]}.
Json detokenize(const ServerContext& context, const Json& body);

}  // namespace qround::server
