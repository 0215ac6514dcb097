// An HTTP/1.1 server for clients that cannot be trusted: every connection has a thread of its own,
// and every wait a deadline. A client that is slow, floods or vanishes costs its own connection and
// nothing else.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/http_exchange.h"

namespace qround::server {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  // 0: any free one
  size_t max_header_bytes = 16 << 10;
  size_t max_body_bytes = 8 << 20;
  // From the first byte of a request to the end of its header, and from there to its end.
  std::chrono::milliseconds header_time{10'000}, body_time{60'000};
  std::chrono::milliseconds idle_time{75'000};   // between requests of a connection
  std::chrono::milliseconds write_time{30'000};  // for a client that does not read
  size_t max_connections = 1024;
  size_t max_connections_per_peer = 512;
};

class HttpServer {
 public:
  // Called on many threads at once; what it throws ends the connection.
  using Handler = std::function<void(HttpExchange&)>;
  // Looks at a request whose body was not read yet; a response refuses it.
  using Admission = std::function<std::optional<HttpResponse>(const HttpRequest&)>;

  // Listens at once. Throws Error when the address cannot be had.
  HttpServer(HttpServerOptions options, Handler handler, Admission admission);
  // As stop() without grace.
  ~HttpServer();

  uint16_t port() const;
  bool is_loopback() const;

  // Accepts nothing more, closes idle connections, lets running requests finish for `grace`, then
  // tells them to end (HttpExchange::cut) and waits for that.
  void stop(std::chrono::milliseconds grace);
  bool stopping() const;
  size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qround::server
