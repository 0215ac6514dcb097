#include "base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace qround {
namespace {

constexpr size_t kMaxDepth = 512;
constexpr size_t kIndexedSize = 16;

// Builds a Json bottom-up from nlohmann's SAX events; `stack_` holds the open containers.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  enum class DuplicateKeys { last_wins, refused };
  explicit Builder(DuplicateKeys duplicates) : duplicates_(duplicates) {}

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(number_integer_t value) override { return add(Json(int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return add(Json(static_cast<int64_t>(value)));
    }
    return add(Json(static_cast<double>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return add(Json(value)); }
  bool string(string_t& value) override { return add(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Json::object()); }
  bool key(string_t& value) override {
    if (duplicates_ == DuplicateKeys::refused && stack_.back().find(value) != nullptr) {
      message_ = fmt::format("the key \"{}\" stands twice in one object", value);
      return false;
    }
    keys_.back() = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    position_ = position;
    message_ = e.what();
    return false;
  }

  Json take() { return std::move(root_); }
  const std::string& message() const { return message_; }
  size_t position() const { return position_; }

 private:
  bool open(Json container) {
    if (stack_.size() >= kMaxDepth) {
      message_ = fmt::format("nested deeper than {} levels", kMaxDepth);
      return false;
    }
    stack_.push_back(std::move(container));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    Json done = std::move(stack_.back());
    stack_.pop_back();
    keys_.pop_back();
    return add(std::move(done));
  }
  bool add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (stack_.back().is_array()) {
      stack_.back().as_array().push_back(std::move(value));
    } else {
      stack_.back().as_object().set(keys_.back(), std::move(value));
    }
    return true;
  }

  DuplicateKeys duplicates_;
  Json root_;
  std::vector<Json> stack_;
  std::vector<std::string> keys_;
  std::string message_;
  size_t position_ = 0;
};

// nlohmann's text is "[json.exception...] parse error at line L, column C: reason"; keep what
// follows the tag.
std::string reason_of(const std::string& message) {
  const size_t tag_end = message.find("] ");
  return tag_end == std::string::npos ? message : message.substr(tag_end + 2);
}

Json parse_with(Builder builder, std::string_view text, const std::filesystem::path& source) {
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return builder.take();
  Error error("invalid JSON");
  if (!source.empty()) error.file(source);
  throw error.actual(reason_of(builder.message()));
}

[[noreturn]] void throw_type(std::string_view expected, const Json& actual) {
  throw Error("JSON value has the wrong type").expected(expected).actual(actual.type_name());
}

void dump_string(std::string_view text, bool ensure_ascii, std::string& out) {
  out += '"';
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    switch (c) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\b':
        out += "\\b";
        continue;
      case '\f':
        out += "\\f";
        continue;
      default:
        break;
    }
    if (c < 0x20) {
      out += fmt::format("\\u{:04x}", c);
    } else if (c < 0x80 || !ensure_ascii) {
      out += static_cast<char>(c);
    } else {
      const int length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
      uint32_t code = c & (0xFF >> (length + 1));
      for (int k = 1; k < length && i + 1 < text.size(); ++k) {
        code = (code << 6) | (static_cast<unsigned char>(text[++i]) & 0x3F);
      }
      if (code < 0x10000) {
        out += fmt::format("\\u{:04x}", code);
      } else {
        code -= 0x10000;
        out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
      }
    }
  }
  out += '"';
}

class Writer {
 public:
  explicit Writer(const Json::DumpOptions& options) : options_(options) {}

  void write(const Json& value) {
    if (value.is_null()) {
      text_ += "null";
    } else if (value.is_bool()) {
      text_ += value.as_bool() ? "true" : "false";
    } else if (value.is_int()) {
      text_ += fmt::format("{}", value.as_int());
    } else if (value.is_double()) {
      text_ += format_double(value.as_double());
    } else if (value.is_string()) {
      dump_string(value.as_string(), options_.ensure_ascii, text_);
    } else if (value.is_array()) {
      write_array(value.as_array());
    } else {
      write_object(value.as_object());
    }
  }
  std::string take() { return std::move(text_); }

 private:
  void write_array(const Json::Array& array) {
    text_ += '[';
    ++depth_;
    bool first = true;
    for (const Json& element : array) {
      separate(first);
      write(element);
    }
    finish(first, ']');
  }
  void write_object(const JsonObject& object) {
    std::vector<const JsonObject::Member*> members;
    for (const auto& member : object) members.push_back(&member);
    if (options_.sort_keys) {
      std::sort(members.begin(), members.end(),
                [](auto* a, auto* b) { return a->first < b->first; });
    }
    text_ += '{';
    ++depth_;
    bool first = true;
    for (const auto* member : members) {
      separate(first);
      dump_string(member->first, options_.ensure_ascii, text_);
      text_ += ": ";
      write(member->second);
    }
    finish(first, '}');
  }
  void separate(bool& first) {
    if (!first) text_ += options_.indent < 0 ? ", " : ",";
    first = false;
    new_line();
  }
  void finish(bool empty, char bracket) {
    --depth_;
    if (!empty) new_line();
    text_ += bracket;
  }
  void new_line() {
    if (options_.indent < 0) return;
    text_ += '\n';
    text_.append(static_cast<size_t>(depth_ * options_.indent), ' ');
  }

  Json::DumpOptions options_;
  std::string text_;
  int depth_ = 0;
};

}  // namespace

Json::Json(JsonObject value) {
  std::vector<JsonObject> box;
  box.push_back(std::move(value));
  value_ = std::move(box);
}

Json Json::object(std::initializer_list<std::pair<std::string, Json>> members) {
  JsonObject object;
  for (const auto& [key, value] : members) object.set(key, value);
  return Json(std::move(object));
}

Json Json::parse(std::string_view text, const std::filesystem::path& source) {
  return parse_with(Builder(Builder::DuplicateKeys::last_wins), text, source);
}

Json Json::parse_unique_keys(std::string_view text, const std::filesystem::path& source) {
  return parse_with(Builder(Builder::DuplicateKeys::refused), text, source);
}

Json Json::parse_file(const std::filesystem::path& path) { return parse(read_file(path), path); }

std::string_view Json::type_name() const {
  if (is_null()) return "null";
  if (is_bool()) return "boolean";
  if (is_number()) return "number";
  if (is_string()) return "string";
  return is_array() ? "array" : "object";
}

bool Json::as_bool() const {
  if (!is_bool()) throw_type("boolean", *this);
  return std::get<bool>(value_);
}

int64_t Json::as_int() const {
  if (is_int()) return std::get<int64_t>(value_);
  if (is_double()) {
    const double number = std::get<double>(value_);
    if (number == std::floor(number) && std::abs(number) < 9.2e18)
      return static_cast<int64_t>(number);
  }
  if (is_number()) throw Error("JSON number is not an integer").actual(dump());
  throw_type("integer", *this);
}

double Json::as_double() const {
  if (is_int()) return static_cast<double>(std::get<int64_t>(value_));
  if (!is_double()) throw_type("number", *this);
  return std::get<double>(value_);
}

const std::string& Json::as_string() const {
  if (!is_string()) throw_type("string", *this);
  return std::get<std::string>(value_);
}

const Json::Array& Json::as_array() const {
  if (!is_array()) throw_type("array", *this);
  return std::get<Array>(value_);
}

Json::Array& Json::as_array() {
  if (!is_array()) throw_type("array", *this);
  return std::get<Array>(value_);
}

const JsonObject& Json::as_object() const {
  if (!is_object()) throw_type("object", *this);
  return std::get<std::vector<JsonObject>>(value_).front();
}

JsonObject& Json::as_object() {
  if (!is_object()) throw_type("object", *this);
  return std::get<std::vector<JsonObject>>(value_).front();
}

const Json* Json::find(std::string_view key) const {
  return is_object() ? as_object().find(key) : nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* member = find(key);
  if (member == nullptr) throw Error(fmt::format("missing key \"{}\"", key));
  return *member;
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) *this = Json(JsonObject());
  as_object().set(key, std::move(value));
  return *this;
}

std::string Json::dump(const DumpOptions& options) const {
  Writer writer(options);
  writer.write(*this);
  return writer.take();
}

bool operator==(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_int() && b.is_int() ? a.as_int() == b.as_int() : a.as_double() == b.as_double();
  }
  return a.value_ == b.value_;
}

size_t JsonObject::index_of(std::string_view key) const {
  if (!index_.empty()) {
    const auto found = index_.find(std::string(key));
    return found == index_.end() ? members_.size() : found->second;
  }
  const auto found = std::find_if(members_.begin(), members_.end(),
                                  [&](const Member& member) { return member.first == key; });
  return static_cast<size_t>(found - members_.begin());
}

const Json* JsonObject::find(std::string_view key) const {
  const size_t index = index_of(key);
  return index == members_.size() ? nullptr : &members_[index].second;
}

Json* JsonObject::find(std::string_view key) {
  const size_t index = index_of(key);
  return index == members_.size() ? nullptr : &members_[index].second;
}

void JsonObject::set(std::string_view key, Json value) {
  if (Json* existing = find(key)) {
    *existing = std::move(value);
    return;
  }
  members_.emplace_back(std::string(key), std::move(value));
  if (!index_.empty()) {
    index_.emplace(members_.back().first, members_.size() - 1);
  } else if (members_.size() > kIndexedSize) {
    for (size_t i = 0; i < members_.size(); ++i) index_.emplace(members_[i].first, i);
  }
}

bool JsonObject::erase(std::string_view key) {
  const size_t index = index_of(key);
  if (index == members_.size()) return false;
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(index));
  index_.clear();
  if (members_.size() > kIndexedSize) {
    for (size_t i = 0; i < members_.size(); ++i) index_.emplace(members_[i].first, i);
  }
  return true;
}

bool operator==(const JsonObject& a, const JsonObject& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.begin(), a.end(), [&](const JsonObject::Member& member) {
    const Json* other = b.find(member.first);
    return other != nullptr && *other == member.second;
  });
}

std::string format_double(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (value == 0) return std::signbit(value) ? "-0.0" : "0.0";
  char buffer[40];
  const double magnitude = std::abs(value);
  // Python's repr switches to exponents below 1e-4 and from 1e16 on.
  const auto format = magnitude >= 1e16 || magnitude < 1e-4 ? std::chars_format::scientific
                                                            : std::chars_format::fixed;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr;
  std::string text(buffer, end);
  if (format == std::chars_format::fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace qround
