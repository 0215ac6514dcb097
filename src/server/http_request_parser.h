// Reads one HTTP/1 request from bytes as they arrive, within limits.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string_view>

#include "server/http_message.h"

namespace qround::server {

// A request that cannot be read; the connection is of no further use.
class HttpParseError : public std::runtime_error {
 public:
  HttpParseError(int status, const char* message) : std::runtime_error(message), status_(status) {}
  int status() const { return status_; }  // 400, 413 or 431

 private:
  int status_;
};

class HttpRequestParser {
 public:
  HttpRequestParser(size_t max_header_bytes, size_t max_body_bytes);
  ~HttpRequestParser();

  // Takes what it can of `bytes` and returns how much that was; the rest must be offered again with
  // what comes after it. Throws HttpParseError.
  size_t put(std::string_view bytes);

  bool header_done() const;
  bool done() const;
  // The client waits for "100 Continue" before it sends the body.
  bool wants_continue() const;
  // Valid once the header is done; the body once all is.
  const HttpRequest& request() const;
  HttpRequest take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qround::server
