#include "server/http_exchange.h"

#include <fmt/format.h>

namespace qround::server {

HttpExchange::HttpExchange(HttpRequest request, HttpSocket& socket,
                           std::chrono::milliseconds write_timeout, const std::atomic<bool>& cut)
    : request_(std::move(request)),
      socket_(socket),
      write_timeout_(write_timeout),
      cut_(cut),
      keep_alive_(request_.keep_alive) {}

void HttpExchange::add_header(std::string name, std::string value) {
  headers_.emplace_back(std::move(name), std::move(value));
}

std::string HttpExchange::head(int status, std::string_view content_type) const {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", status, status_text(status));
  if (!content_type.empty()) out += fmt::format("Content-Type: {}\r\n", content_type);
  for (const auto& [name, value] : headers_) out += fmt::format("{}: {}\r\n", name, value);
  out += keep_alive_ ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
  return out;
}

void HttpExchange::respond(const HttpResponse& response) {
  status_ = response.status;
  for (const auto& header : response.headers) headers_.push_back(header);
  std::string out = head(response.status, response.body.empty() ? "" : response.content_type);
  if (response.status != 204) out += fmt::format("Content-Length: {}\r\n", response.body.size());
  out += "\r\n";
  if (request_.method != "HEAD") out += response.body;
  send(out);
}

bool HttpExchange::start_stream(std::string_view content_type) {
  status_ = 200;
  streaming_ = true;
  chunked_ = request_.version_1_1;
  if (!chunked_) keep_alive_ = false;  // the end of the connection is the end of the answer
  std::string out = head(status_, content_type);
  if (chunked_) out += "Transfer-Encoding: chunked\r\n";
  return send(out + "\r\n");
}

bool HttpExchange::write(std::string_view piece) {
  if (piece.empty()) return !gone_;
  if (!chunked_) return send(piece);
  return send(fmt::format("{:x}\r\n{}\r\n", piece.size(), piece));
}

void HttpExchange::end_stream() {
  if (streaming_ && chunked_) send("0\r\n\r\n");
  streaming_ = false;
}

bool HttpExchange::client_gone() {
  gone_ = gone_ || socket_.gone();
  return gone_;
}

bool HttpExchange::send(std::string_view bytes) {
  if (gone_) return false;
  gone_ = socket_.write(bytes, after(write_timeout_)) != HttpSocket::Result::done;
  if (gone_) keep_alive_ = false;
  return !gone_;
}

}  // namespace qround::server
