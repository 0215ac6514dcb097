#include "server/request_fields.h"

#include <fmt/format.h>

#include <cmath>

#include "server/api_error.h"

namespace qround::server {
namespace {

[[noreturn]] void refuse_range(const std::string& path, const std::string& least,
                               const std::string& most, const std::string& given) {
  throw ApiError::bad_parameter(
      path, fmt::format("{} must lie between {} and {}, got {}", path, least, most, given));
}

}  // namespace

std::string element_path(std::string_view array_path, size_t index) {
  return fmt::format("{}[{}]", array_path, index);
}

void refuse_type(std::string_view path, std::string_view wanted, const Json& given) {
  const std::string name = path.empty() ? "the request" : std::string(path);
  throw ApiError::bad_parameter(
      path, fmt::format("{} must be {}, got a value of type {}", name, wanted, given.type_name()));
}

RequestFields::RequestFields(const Json& object, std::string path)
    : object_(&object), path_(std::move(path)) {
  if (!object.is_object()) refuse_type(path_, "an object", object);
}

const Json* RequestFields::find(std::string_view key) const {
  const Json* member = object_->find(key);
  return member == nullptr || member->is_null() ? nullptr : member;
}

std::string RequestFields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

std::optional<bool> RequestFields::boolean(std::string_view key) const {
  const Json* member = find(key);
  if (member == nullptr) return std::nullopt;
  if (!member->is_bool()) refuse_type(path_of(key), "true or false", *member);
  return member->as_bool();
}

std::optional<double> RequestFields::number(std::string_view key, double least, double most) const {
  const Json* member = find(key);
  if (member == nullptr) return std::nullopt;
  if (!member->is_number()) refuse_type(path_of(key), "a number", *member);
  const double value = member->as_double();
  if (!(value >= least && value <= most)) {
    refuse_range(path_of(key), format_double(least), format_double(most), format_double(value));
  }
  return value;
}

std::optional<int64_t> RequestFields::integer(std::string_view key, int64_t least,
                                              int64_t most) const {
  const Json* member = find(key);
  if (member == nullptr) return std::nullopt;
  const std::string path = path_of(key);
  if (!member->is_number()) refuse_type(path, "an integer", *member);
  // A double may be an integer beyond 64 bits: out of range, whatever the range.
  if (member->is_double()) {
    const double value = member->as_double();
    if (value != std::floor(value)) {
      throw ApiError::bad_parameter(path, fmt::format("{} must be an integer", path));
    }
    if (std::abs(value) > 9e15) {
      refuse_range(path, std::to_string(least), std::to_string(most), format_double(value));
    }
  }
  const int64_t value = member->as_int();
  if (value < least || value > most) {
    refuse_range(path, std::to_string(least), std::to_string(most), std::to_string(value));
  }
  return value;
}

std::optional<std::string> RequestFields::text(std::string_view key) const {
  const Json* member = find(key);
  if (member == nullptr) return std::nullopt;
  if (!member->is_string()) refuse_type(path_of(key), "a string", *member);
  return member->as_string();
}

const Json::Array* RequestFields::array(std::string_view key, size_t most_elements) const {
  const Json* member = find(key);
  if (member == nullptr) return nullptr;
  const std::string path = path_of(key);
  if (!member->is_array()) refuse_type(path, "an array", *member);
  if (member->as_array().size() > most_elements) {
    throw ApiError::bad_parameter(path,
                                  fmt::format("{} has {} elements, at most {} are allowed", path,
                                              member->as_array().size(), most_elements));
  }
  return &member->as_array();
}

std::optional<RequestFields> RequestFields::object(std::string_view key) const {
  const Json* member = find(key);
  if (member == nullptr) return std::nullopt;
  return RequestFields(*member, path_of(key));
}

}  // namespace qround::server
