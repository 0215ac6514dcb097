// Reads the members of a request's JSON object. A member that is absent or null is nullopt; one of
// the wrong type or out of range throws ApiError 400 with its path as `param`.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace qround::server {

class RequestFields {
 public:
  // `object` must outlive this. `path` is its place in the request, empty for the request itself.
  // Throws ApiError when it is no object.
  explicit RequestFields(const Json& object, std::string path = "");

  // The member, or nullptr when it is absent or null.
  const Json* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  std::optional<bool> boolean(std::string_view key) const;
  std::optional<double> number(std::string_view key, double least, double most) const;
  std::optional<int64_t> integer(std::string_view key, int64_t least,
                                 int64_t most = std::numeric_limits<int64_t>::max()) const;
  std::optional<std::string> text(std::string_view key) const;
  const Json::Array* array(std::string_view key, size_t most_elements) const;
  std::optional<RequestFields> object(std::string_view key) const;

  const Json& json() const { return *object_; }
  // "messages[2].role"
  std::string path_of(std::string_view key) const;

 private:
  const Json* object_;
  std::string path_;
};

std::string element_path(std::string_view array_path, size_t index);

// Throws ApiError 400: `path` must be `wanted`, but a value of another type was given.
[[noreturn]] void refuse_type(std::string_view path, std::string_view wanted, const Json& given);

}  // namespace qround::server
