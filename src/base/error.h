// The one exception type of the project.
//
// A user-visible failure is an Error with fields, filled where each fact is known:
//
//   throw Error("tensor has the wrong shape").file(path).tensor(name).expected("[8,
//   4]").actual("[4, 8]");
//
// Library code neither prints nor exits; the command line prints an Error once and turns its kind
// into the exit status, the server turns its fields into JSON.
#pragma once

#include <exception>
#include <filesystem>
#include <string>
#include <string_view>

namespace qround {

// What went wrong, as the exit status tells it (docs/commands.md).
enum class ErrorKind {
  check,        // 1: the thing that was checked is wrong
  input,        // 2: bad usage or bad input
  resource,     // 3: out of memory, disk or another resource
  interrupted,  // 130: stopped by the user; the job can be resumed
};

int exit_status(ErrorKind kind);

class Error : public std::exception {
 public:
  explicit Error(std::string message, ErrorKind kind = ErrorKind::input);

  Error& file(const std::filesystem::path& path);
  Error& tensor(std::string_view name);
  Error& expected(std::string_view text);
  Error& actual(std::string_view text);
  Error& hint(std::string_view text);

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const std::string& file() const { return file_; }
  const std::string& tensor() const { return tensor_; }
  const std::string& expected() const { return expected_; }
  const std::string& actual() const { return actual_; }
  const std::string& hint() const { return hint_; }

  // All fields, one "name: value" line each after the message.
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  void compose();

  ErrorKind kind_;
  std::string message_, file_, tensor_, expected_, actual_, hint_;
  std::string text_;
};

// An Error of kind `resource` or `input` for a failed system call; reads errno.
Error system_error(std::string_view action, const std::filesystem::path& path);

}  // namespace qround
