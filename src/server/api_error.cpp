#include "server/api_error.h"

namespace qround::server {
namespace {

constexpr int kRetrySeconds = 1;

// OpenAI's names of the kinds of errors.
const char* type_of(int status) {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 404) return "not_found_error";
  if (status == 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

}  // namespace

ApiError ApiError::bad_parameter(std::string_view param, std::string message) {
  ApiError error(400, std::move(message));
  error.param(param);
  return error;
}

ApiError ApiError::from(const Error& error) {
  if (error.kind() == ErrorKind::input) return {400, error.what()};
  if (error.kind() != ErrorKind::resource) return {500, error.what()};
  ApiError busy(429, error.what());
  busy.retry_after(kRetrySeconds);
  return busy;
}

ApiError& ApiError::param(std::string_view path) {
  param_ = path;
  return *this;
}

ApiError& ApiError::code(std::string_view code) {
  code_ = code;
  return *this;
}

ApiError& ApiError::retry_after(int seconds) {
  retry_after_ = seconds;
  return *this;
}

Json ApiError::json() const {
  return Json::object({{"error", Json::object({{"message", message_},
                                               {"type", type_of(status_)},
                                               {"param", text_or_null(param_)},
                                               {"code", text_or_null(code_)}})}});
}

}  // namespace qround::server
