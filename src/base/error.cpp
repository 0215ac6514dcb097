#include "base/error.h"

#include <cerrno>
#include <system_error>

namespace qround {

int exit_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::check:
      return 1;
    case ErrorKind::input:
      return 2;
    case ErrorKind::resource:
      return 3;
    case ErrorKind::interrupted:
      return 130;
  }
  return 2;
}

Error::Error(std::string message, ErrorKind kind) : kind_(kind), message_(std::move(message)) {
  compose();
}

Error& Error::file(const std::filesystem::path& path) {
  file_ = path.string();
  compose();
  return *this;
}

Error& Error::tensor(std::string_view name) {
  tensor_ = name;
  compose();
  return *this;
}

Error& Error::expected(std::string_view text) {
  expected_ = text;
  compose();
  return *this;
}

Error& Error::actual(std::string_view text) {
  actual_ = text;
  compose();
  return *this;
}

Error& Error::hint(std::string_view text) {
  hint_ = text;
  compose();
  return *this;
}

void Error::compose() {
  text_ = message_;
  const auto append = [this](std::string_view label, const std::string& value) {
    if (!value.empty()) text_.append("\n  ").append(label).append(": ").append(value);
  };
  append("file", file_);
  append("tensor", tensor_);
  append("expected", expected_);
  append("actual", actual_);
  append("hint", hint_);
}

Error system_error(std::string_view action, const std::filesystem::path& path) {
  const int code = errno;
  const bool exhausted =
      code == ENOSPC || code == EDQUOT || code == ENOMEM || code == EMFILE || code == EFBIG;
  Error error("cannot " + std::string(action), exhausted ? ErrorKind::resource : ErrorKind::input);
  error.file(path).actual(std::generic_category().message(code));
  if (code == ENOSPC || code == EDQUOT)
    error.hint("free some disk space or choose another output directory");
  return error;
}

}  // namespace qround
