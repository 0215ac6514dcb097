// What the server counts, as text for Prometheus.
#pragma once

#include <memory>
#include <string>

#include "engine/engine_options.h"

namespace qround::server {

// All members may be called from several threads.
class ServerMetrics {
 public:
  ServerMetrics();
  ~ServerMetrics();

  void request(const std::string& endpoint, int status);
  void first_token(double seconds);
  void next_token(double seconds);

  // `engine` may be nullptr while the model loads.
  std::string text(const EngineMetrics* engine, size_t connections) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qround::server
