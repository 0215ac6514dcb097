// POST /v1/completions.
#pragma once

#include "server/http_exchange.h"
#include "server/server_context.h"

namespace qround::server {

// Answers, whole or as a stream. Throws ApiError only before anything was sent.
void handle_completion(const ServerContext& context, HttpExchange& exchange, const Json& body);

}  // namespace qround::server
