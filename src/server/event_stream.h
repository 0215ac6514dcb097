// Server-sent events: one JSON object per event.
#pragma once

#include "base/json.h"
#include "server/http_exchange.h"

namespace qround::server {

class EventStream {
 public:
  // Sends the headers.
  explicit EventStream(HttpExchange& exchange);

  // False when the client is gone.
  bool send(const Json& data);
  // A comment, so that proxies and clients see that the connection lives.
  void keep_alive();
  // "[DONE]" and the end of the answer.
  void done();

 private:
  HttpExchange& exchange_;
};

}  // namespace qround::server
