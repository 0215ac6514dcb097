// The server as a whole: which path is answered by what, from loading to the end.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/access.h"
#include "server/http_server.h"
#include "server/request_limits.h"
#include "server/served_model.h"
#include "server/server_metrics.h"

namespace qround::server {

struct ApplicationOptions {
  HttpServerOptions http;
  RequestLimits limits;
  std::string api_key;               // empty: none needed
  std::vector<std::string> origins;  // web origins that may use the API
  std::string version;               // of the program
  // Hears a line per answered request; empty: nobody does.
  std::function<void(const std::string& line)> log;
};

class Application {
 public:
  // Listens at once; until offer() everything but /health, /version and /metrics is 503.
  explicit Application(ApplicationOptions options);
  ~Application();

  // From now on requests are answered by `model`, which must outlive this.
  void offer(const ServedModel& model);

  const HttpServer& http() const;
  // See HttpServer::stop.
  void stop(std::chrono::milliseconds grace);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qround::server
