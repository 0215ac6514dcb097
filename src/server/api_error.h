// A refusal as OpenAI's API words it: an HTTP status and
// {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <exception>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace qround::server {

class ApiError : public std::exception {
 public:
  ApiError(int status, std::string message) : status_(status), message_(std::move(message)) {}

  // 400; `param` is the path of the member that is wrong ("messages[2].role").
  static ApiError bad_parameter(std::string_view param, std::string message);
  // An Error of the library as an answer: `input` is the client's fault (400), `resource` a full
  // queue or too little memory (429).
  static ApiError from(const Error& error);

  ApiError& param(std::string_view path);
  ApiError& code(std::string_view code);
  ApiError& retry_after(int seconds);

  int status() const { return status_; }
  std::optional<int> retry_after() const { return retry_after_; }
  const std::string& param() const { return param_; }
  const std::string& message() const { return message_; }
  Json json() const;

  const char* what() const noexcept override { return message_.c_str(); }

 private:
  int status_;
  std::string message_, param_, code_;
  std::optional<int> retry_after_;
};

}  // namespace qround::server
