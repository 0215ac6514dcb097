// Requests as they were read and responses as they will be written.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qround::server {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // "GET"
  std::string path;     // percent-decoded, without the query
  HttpHeaders headers;  // names in lower case
  std::string body;
  bool keep_alive = false;
  bool version_1_1 = true;

  // The first header of this name (lower case).
  std::optional<std::string_view> header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers;
};

const char* status_text(int status);

}  // namespace qround::server
