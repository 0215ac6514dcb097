// What the handlers of requests share.
#pragma once

#include "server/request_limits.h"
#include "server/served_model.h"
#include "server/server_metrics.h"

namespace qround::server {

struct ServerContext {
  const ServedModel& model;
  const RequestLimits& limits;
  ServerMetrics& metrics;
};

// Throws ApiError 404 unless the model goes by this name.
void check_model(const ServerContext& context, const std::string& name);

}  // namespace qround::server
