// Who may talk to the server: the API key, and web pages of other origins.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_message.h"

namespace qround::server {

class Access {
 public:
  // Without a key everyone is let in. `origins` are the web origins that may use the API from a
  // browser ("https://example.org", or "*").
  Access(std::string api_key, std::vector<std::string> origins);

  // A refusal (401 or 403), or nullopt. /health needs no key.
  std::optional<HttpResponse> refusal(const HttpRequest& request) const;
  // The headers that let a browser hand the answer to a page of an allowed origin.
  HttpHeaders cors_headers(const HttpRequest& request) const;

 private:
  bool has_key(const HttpRequest& request) const;
  bool allows_origin(std::string_view origin) const;

  std::string key_digest_;  // empty: no key
  std::vector<std::string> origins_;
};

}  // namespace qround::server
