// JSON values whose objects keep the order of their keys, as chat templates and configuration files
// need it. Parsing is strict (RFC 8259) and bounded in depth; text must be UTF-8.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace qround {

class JsonObject;

class Json {
 public:
  using Array = std::vector<Json>;

  Json();  // null
  Json(std::nullptr_t);
  Json(bool value);
  Json(int value);
  Json(int64_t value);
  Json(uint64_t value);
  Json(double value);
  Json(const char* value);
  Json(std::string value);
  Json(std::string_view value);
  Json(Array value);
  Json(JsonObject value);
  // An object from {key, value} pairs, in this order.
  static Json object(std::initializer_list<std::pair<std::string, Json>> members = {});
  static Json array();
  static Json array(Array values);

  // Throws Error naming line and column. `source` is the file named in the error.
  static Json parse(std::string_view text, const std::filesystem::path& source = {});
  static Json parse_file(const std::filesystem::path& path);
  // As parse, but an object that names a key twice is an Error (parse keeps the last value, as Python does).
  static Json parse_unique_keys(std::string_view text, const std::filesystem::path& source = {});

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_double() const { return std::holds_alternative<double>(value_); }
  bool is_number() const { return is_int() || is_double(); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<std::vector<JsonObject>>(value_); }
  std::string_view type_name() const;  // "null", "boolean", "number", "string", "array", "object"

  // Each throws Error("expected a ... , got a ...") when the value has another type.
  bool as_bool() const;
  int64_t as_int() const;    // a double with an integral value counts as an integer
  double as_double() const;  // any number
  const std::string& as_string() const;
  const Array& as_array() const;
  Array& as_array();
  const JsonObject& as_object() const;
  JsonObject& as_object();

  // Object look-up: the member or nullptr; nullptr as well when this is no object.
  const Json* find(std::string_view key) const;
  // Object look-up that throws Error naming the missing key.
  const Json& at(std::string_view key) const;
  // Sets or replaces a member of an object (null becomes an empty object first).
  Json& set(std::string_view key, Json value);

  struct DumpOptions {
    int indent = -1;            // spaces per level; -1: one line, ", " and ": " as separators
    bool ensure_ascii = false;  // \uXXXX for everything beyond ASCII
    bool sort_keys = false;
  };
  // The text Python's json.dumps would give with the same options.
  std::string dump(const DumpOptions& options) const;
  std::string dump() const { return dump(DumpOptions{}); }

  friend bool operator==(const Json& a, const Json& b);

 private:
  // JsonObject is incomplete here; a vector of exactly one holds it.
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, std::vector<JsonObject>>
      value_;
};

// Members in insertion order; look-up by key is O(1) once the object is large.
class JsonObject {
 public:
  using Member = std::pair<std::string, Json>;

  const Json* find(std::string_view key) const;
  Json* find(std::string_view key);
  void set(std::string_view key, Json value);  // replaces in place, else appends
  bool erase(std::string_view key);

  size_t size() const { return members_.size(); }
  bool empty() const { return members_.empty(); }
  auto begin() const { return members_.begin(); }
  auto end() const { return members_.end(); }

  friend bool operator==(const JsonObject& a, const JsonObject& b);  // the order of keys is ignored

 private:
  size_t index_of(std::string_view key) const;  // size() when absent

  std::vector<Member> members_;
  std::unordered_map<std::string, size_t> index_;  // filled only beyond kIndexedSize members
};

// Here, where JsonObject is complete: a constructor may have to destroy what it made.
inline Json::Json() = default;
inline Json::Json(std::nullptr_t) {}
inline Json::Json(bool value) : value_(value) {}
inline Json::Json(int value) : value_(int64_t{value}) {}
inline Json::Json(int64_t value) : value_(value) {}
inline Json::Json(uint64_t value) : value_(static_cast<int64_t>(value)) {}
inline Json::Json(double value) : value_(value) {}
inline Json::Json(const char* value) : value_(std::string(value)) {}
inline Json::Json(std::string value) : value_(std::move(value)) {}
inline Json::Json(std::string_view value) : value_(std::string(value)) {}
inline Json::Json(Array value) : value_(std::move(value)) {}
inline Json Json::array() { return Json(Array()); }
inline Json Json::array(Array values) { return Json(std::move(values)); }

// The shortest decimal that reads back as `value`, written as Python's repr writes it ("1.0",
// "1e-05").
std::string format_double(double value);

}  // namespace qround
