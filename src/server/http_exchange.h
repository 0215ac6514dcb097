// One request and the answer to it, as a handler sees them. The handler runs on the connection's
// own thread and answers once: respond(), or start_stream() and then write().
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "server/http_message.h"
#include "server/http_socket.h"

namespace qround::server {

class HttpExchange {
 public:
  // `cut` becomes true when the server cannot wait for the answer any longer.
  HttpExchange(HttpRequest request, HttpSocket& socket, std::chrono::milliseconds write_timeout,
               const std::atomic<bool>& cut);

  const HttpRequest& request() const { return request_; }
  const std::string& peer() const { return socket_.peer(); }

  // A header of the answer, whatever it will be.
  void add_header(std::string name, std::string value);
  // The connection ends after this answer.
  void close_after() { keep_alive_ = false; }

  void respond(const HttpResponse& response);
  // An answer that comes piece by piece. False when the client is gone, also later; what is written
  // after that goes nowhere.
  bool start_stream(std::string_view content_type);
  bool write(std::string_view piece);
  void end_stream();

  bool client_gone();
  bool cut() const { return cut_.load(std::memory_order_relaxed); }

  int status() const { return status_; }  // of the answer; 0 before it
  bool keep_alive() const { return keep_alive_; }

 private:
  std::string head(int status, std::string_view content_type) const;
  bool send(std::string_view bytes);

  HttpRequest request_;
  HttpSocket& socket_;
  std::chrono::milliseconds write_timeout_;
  const std::atomic<bool>& cut_;
  HttpHeaders headers_;
  int status_ = 0;
  bool keep_alive_;
  bool streaming_ = false, chunked_ = false, gone_ = false;
};

}  // namespace qround::server
