#include "server/argument_value.h"

#include <optional>
#include <string>

#include "base/error.h"
#include "server/json_pointer.h"

namespace qround::server {
namespace {

constexpr int kMaxReferences = 16;

struct AllowedTypes {
  bool string = false, null = false, boolean = false, integer = false, number = false,
       array = false, object = false;

  bool none() const { return !(string || null || boolean || integer || number || array || object); }
  void add_name(std::string_view name) {
    string |= name == "string";
    null |= name == "null";
    boolean |= name == "boolean";
    integer |= name == "integer";
    number |= name == "number";
    array |= name == "array";
    object |= name == "object";
  }
  void add_type_of(const Json& value) {
    if (value.is_int()) integer = true;
    if (value.is_double()) number = true;
    if (!value.is_number()) add_name(value.type_name());
  }
};

void collect(const Json& schema, const Json& root, int depth, AllowedTypes& types) {
  if (depth > kMaxReferences) return;
  if (const Json* reference = schema.find("$ref"); reference != nullptr && reference->is_string()) {
    const Json* target = find_reference(root, reference->as_string());
    if (target != nullptr) collect(*target, root, depth + 1, types);
  }
  if (const Json* type = schema.find("type")) {
    if (type->is_string()) types.add_name(type->as_string());
    if (type->is_array()) {
      for (const Json& name : type->as_array()) {
        if (name.is_string()) types.add_name(name.as_string());
      }
    }
    return;
  }
  if (const Json* constant = schema.find("const")) types.add_type_of(*constant);
  if (const Json* values = schema.find("enum"); values != nullptr && values->is_array()) {
    for (const Json& value : values->as_array()) types.add_type_of(value);
  }
  for (const char* key : {"anyOf", "oneOf", "allOf"}) {
    const Json* parts = schema.find(key);
    if (parts == nullptr || !parts->is_array()) continue;
    for (const Json& part : parts->as_array()) collect(part, root, depth + 1, types);
  }
  if (schema.find("properties") != nullptr) types.object = true;
  if (schema.find("items") != nullptr) types.array = true;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::optional<Json> parsed(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Models trained on Python write True, False and None too.
std::optional<Json> spelled(std::string_view text) {
  if (text == "True") return Json(true);
  if (text == "False") return Json(false);
  if (text == "None") return Json();
  return parsed(text);
}

bool allows(const AllowedTypes& types, const Json& value) {
  if (value.is_null()) return types.null;
  if (value.is_bool()) return types.boolean;
  if (value.is_int()) return types.integer || types.number;
  if (value.is_double()) return types.number;
  if (value.is_array()) return types.array;
  return value.is_object() && types.object;
}

}  // namespace

Json argument_value(std::string_view text, const Json* schema, const Json& root) {
  AllowedTypes types;
  if (schema != nullptr) collect(*schema, root, 0, types);
  const std::string_view core = trimmed(text);
  if (types.none()) {
    const std::optional<Json> value = parsed(core);
    return value ? *value : Json(text);
  }
  const std::optional<Json> value = spelled(core);
  if (value && allows(types, *value)) return *value;
  return Json(text);
}

}  // namespace qround::server
