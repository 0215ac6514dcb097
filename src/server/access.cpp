#include "server/access.h"

#include <algorithm>

#include "base/hash.h"
#include "server/api_error.h"

namespace qround::server {
namespace {

// Of equal lengths; the time does not depend on where they differ.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

int base64_value(char c) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const size_t at = kAlphabet.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

std::string base64_decoded(std::string_view text) {
  std::string out;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) break;
    bits = bits << 6 | static_cast<unsigned>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFF);
  }
  return out;
}

bool starts_with_word(std::string_view text, std::string_view word) {
  return text.size() > word.size() &&
         std::equal(word.begin(), word.end(), text.begin(),
                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); }) &&
         text[word.size()] == ' ';
}

// "Bearer KEY" of API clients; "Basic base64(name:KEY)" of browsers, which ask for it themselves.
std::string presented_key(std::string_view authorization) {
  if (starts_with_word(authorization, "bearer")) return std::string(authorization.substr(7));
  if (!starts_with_word(authorization, "basic")) return {};
  const std::string pair = base64_decoded(authorization.substr(6));
  const size_t colon = pair.find(':');
  return colon == std::string::npos ? std::string() : pair.substr(colon + 1);
}

HttpResponse refused(const ApiError& error, HttpHeaders headers = {}) {
  return {.status = error.status(), .body = error.json().dump(), .headers = std::move(headers)};
}

}  // namespace

Access::Access(std::string api_key, std::vector<std::string> origins)
    : key_digest_(api_key.empty() ? std::string() : sha256_hex(api_key)),
      origins_(std::move(origins)) {}

// Digests are compared, so neither the key's length nor its beginning shows in the time.
bool Access::has_key(const HttpRequest& request) const {
  if (key_digest_.empty()) return true;
  const auto authorization = request.header("authorization");
  return authorization &&
         equal_in_constant_time(sha256_hex(presented_key(*authorization)), key_digest_);
}

bool Access::allows_origin(std::string_view origin) const {
  return std::any_of(origins_.begin(), origins_.end(), [&](const std::string& allowed) {
    return allowed == "*" || allowed == origin;
  });
}

std::optional<HttpResponse> Access::refusal(const HttpRequest& request) const {
  if (request.path == "/health") return std::nullopt;
  if (const auto origin = request.header("origin")) {
    // A browser sends the page's origin along; a page of another site may not use this server
    // unless it was allowed to.
    const std::string host(request.header("host").value_or(""));
    const bool same = *origin == "http://" + host || *origin == "https://" + host;
    if (!same && !allows_origin(*origin)) {
      return refused(ApiError(403, "pages of this origin may not use this server; see --cors"));
    }
  }
  // A browser asks in advance without credentials.
  if (request.method == "OPTIONS" || has_key(request)) return std::nullopt;
  const bool page = request.path.find('/', 1) == std::string::npos && request.method == "GET";
  return refused(
      ApiError(401, "a valid API key is needed: Authorization: Bearer KEY").code("invalid_api_key"),
      {{"WWW-Authenticate", page ? "Basic realm=\"qround\"" : "Bearer"}});
}

HttpHeaders Access::cors_headers(const HttpRequest& request) const {
  const auto origin = request.header("origin");
  if (!origin || !allows_origin(*origin)) return {};
  HttpHeaders headers = {{"Access-Control-Allow-Origin", std::string(*origin)}, {"Vary", "Origin"}};
  if (request.method == "OPTIONS") {
    headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type");
    headers.emplace_back("Access-Control-Max-Age", "86400");
  }
  return headers;
}

}  // namespace qround::server
