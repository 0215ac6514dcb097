#include "server/json_pointer.h"

#include <charconv>
#include <string>

namespace qround::server {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string unescaped(std::string_view token) {
  std::string out;
  for (size_t i = 0; i < token.size(); ++i) {
    if (token[i] == '~' && i + 1 < token.size() && (token[i + 1] == '0' || token[i + 1] == '1')) {
      out += token[++i] == '0' ? '~' : '/';
    } else {
      out += token[i];
    }
  }
  return out;
}

const Json* step(const Json& value, const std::string& token) {
  if (!value.is_array()) return value.find(token);
  size_t index = 0;
  const auto [end, failure] = std::from_chars(token.data(), token.data() + token.size(), index);
  const bool whole = failure == std::errc() && end == token.data() + token.size();
  return whole && index < value.as_array().size() ? &value.as_array()[index] : nullptr;
}

}  // namespace

const Json* find_reference(const Json& root, std::string_view reference) {
  if (reference.empty() || reference.front() != '#') return nullptr;
  const std::string pointer = percent_decoded(reference.substr(1));
  std::string_view rest = pointer;
  const Json* value = &root;
  while (!rest.empty()) {
    if (rest.front() != '/') return nullptr;
    rest.remove_prefix(1);
    const size_t end = std::min(rest.find('/'), rest.size());
    value = step(*value, unescaped(rest.substr(0, end)));
    if (value == nullptr) return nullptr;
    rest.remove_prefix(end);
  }
  return value;
}

}  // namespace qround::server
