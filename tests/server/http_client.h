// A client that can also misbehave: it writes bytes and reads what comes back.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/json.h"

namespace qround::server {

struct HttpReply {
  int status = 0;  // 0: the connection ended before an answer
  std::string head, body;

  Json json() const { return Json::parse(body); }
  bool has_header(const std::string& line) const {
    return head.find("\r\n" + line + "\r\n") != std::string::npos;
  }
};

class HttpClient {
 public:
  explicit HttpClient(uint16_t port) : descriptor_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~HttpClient() { close(descriptor_); }
  HttpClient(const HttpClient&) = delete;

  // False when the server has ended the connection.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Reads until the text holds `needle`, the end of the connection or ten seconds.
  bool read_until(std::string_view needle) {
    while (buffer_.find(needle) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  const std::string& buffer() const { return buffer_; }
  bool closed_by_server() {
    while (read_some()) {
    }
    return at_end_;
  }

  HttpReply reply() {
    HttpReply out;
    if (!read_until("\r\n\r\n")) return out;
    const size_t end = buffer_.find("\r\n\r\n");
    out.head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    out.status = std::stoi(out.head.substr(9, 3));
    if (out.has_header("Transfer-Encoding: chunked")) {
      out.body = chunked_body();
    } else if (const size_t at = out.head.find("Content-Length: "); at != std::string::npos) {
      const size_t length = std::stoul(out.head.substr(at + 16));
      while (buffer_.size() < length && read_some()) {
      }
      out.body = buffer_.substr(0, length);
      buffer_.erase(0, length);
    }
    return out;
  }

  HttpReply get(const std::string& path, const std::string& headers = "") {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n");
    return reply();
  }
  HttpReply post(const std::string& path, const std::string& body,
                 const std::string& headers = "") {
    start_post(path, body, headers);
    return reply();
  }
  void start_post(const std::string& path, const std::string& body,
                  const std::string& headers = "") {
    send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n" + headers + "\r\n" + body);
  }

 private:
  bool read_some() {
    pollfd set{descriptor_, POLLIN, 0};
    if (poll(&set, 1, 10'000) <= 0) return false;
    char bytes[4096];
    const ssize_t got = recv(descriptor_, bytes, sizeof bytes, 0);
    if (got <= 0) {
      at_end_ = true;
      return false;
    }
    buffer_.append(bytes, static_cast<size_t>(got));
    return true;
  }
  std::string chunked_body() {
    std::string body;
    while (read_until("\r\n")) {
      const size_t line = buffer_.find("\r\n");
      const size_t length = std::stoul(buffer_.substr(0, line), nullptr, 16);
      while (buffer_.size() < line + 2 + length + 2 && read_some()) {
      }
      body += buffer_.substr(line + 2, length);
      buffer_.erase(0, line + 2 + length + 2);
      if (length == 0) return body;
    }
    return body + "(cut off)";
  }

  int descriptor_;
  std::string buffer_;
  bool at_end_ = false;
};

// The JSON of the events of a stream; "[DONE]" is the string "[DONE]".
inline std::vector<Json> events_of(const std::string& body) {
  std::vector<Json> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    if (end == std::string::npos) {
      ADD_FAILURE() << "a cut off event: " << body.substr(at);
      break;
    }
    const std::string event = body.substr(at, end - at);
    at = end + 2;
    if (event.starts_with(":")) continue;
    EXPECT_TRUE(event.starts_with("data: ")) << event;
    const std::string data = event.substr(6);
    events.push_back(data == "[DONE]" ? Json(data) : Json::parse(data));
  }
  return events;
}

}  // namespace qround::server
