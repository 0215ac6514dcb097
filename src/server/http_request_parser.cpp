#include "server/http_request_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace qround::server {
namespace {

namespace http = boost::beast::http;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decoded_path(std::string_view target) {
  target = target.substr(0, target.find_first_of("?#"));
  std::string path;
  for (size_t i = 0; i < target.size(); ++i) {
    const int high = target[i] == '%' && i + 2 < target.size() ? hex_digit(target[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(target[i + 2]) : -1;
    if (low >= 0) {
      path += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      path += target[i];
    }
  }
  return path;
}

[[noreturn]] void refuse(const boost::beast::error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    throw HttpParseError(431, "the headers are too large");
  }
  if (error == http::error::body_limit) throw HttpParseError(413, "the body is too large");
  throw HttpParseError(400, "this is not an HTTP request");
}

}  // namespace

struct HttpRequestParser::Impl {
  http::request_parser<http::string_body> parser;
  HttpRequest request;
  bool header_taken = false;

  void take_header() {
    const auto& message = parser.get();
    request.method = std::string(message.method_string());
    request.path = decoded_path(std::string_view(message.target().data(), message.target().size()));
    request.keep_alive = message.keep_alive();
    request.version_1_1 = message.version() >= 11;
    for (const auto& field : message) {
      const auto name = field.name_string();
      const auto value = field.value();
      request.headers.emplace_back(lower({name.data(), name.size()}),
                                   std::string(value.data(), value.size()));
    }
    header_taken = true;
  }
};

HttpRequestParser::HttpRequestParser(size_t max_header_bytes, size_t max_body_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<uint32_t>(max_header_bytes));
  impl_->parser.body_limit(max_body_bytes);
}

HttpRequestParser::~HttpRequestParser() = default;

size_t HttpRequestParser::put(std::string_view bytes) {
  size_t used = 0;
  while (!done()) {
    boost::beast::error_code error;
    const size_t taken =
        impl_->parser.put(boost::asio::buffer(bytes.data() + used, bytes.size() - used), error);
    used += taken;
    if (impl_->parser.is_header_done() && !impl_->header_taken) impl_->take_header();
    if (error == http::error::need_more) break;
    if (error) refuse(error);
    if (taken == 0 || used == bytes.size()) break;
  }
  if (done()) impl_->request.body = std::move(impl_->parser.get().body());
  return used;
}

bool HttpRequestParser::header_done() const { return impl_->parser.is_header_done(); }

bool HttpRequestParser::done() const { return impl_->parser.is_done(); }

bool HttpRequestParser::wants_continue() const {
  const auto expect = request().header("expect");
  return expect && lower(*expect) == "100-continue" && request().version_1_1;
}

const HttpRequest& HttpRequestParser::request() const { return impl_->request; }

HttpRequest HttpRequestParser::take() { return std::move(impl_->request); }

}  // namespace qround::server
