#include "server/schema_overlap.h"

#include <algorithm>
#include <optional>
#include <string>

#include "server/json_pointer.h"

namespace qround::server {
namespace {

constexpr int kMaxReferences = 16;

const Json& resolved(const Json& schema, const Json& root) {
  const Json* current = &schema;
  for (int i = 0; i < kMaxReferences; ++i) {
    const Json* reference = current->find("$ref");
    if (reference == nullptr || !reference->is_string()) break;
    const Json* target = find_reference(root, reference->as_string());
    if (target == nullptr) break;
    current = target;
  }
  return *current;
}

// The only values a schema allows; nullopt: it does not list them.
std::optional<Json::Array> fixed_values(const Json& schema) {
  if (const Json* constant = schema.find("const")) return Json::Array{*constant};
  const Json* listed = schema.find("enum");
  if (listed == nullptr || !listed->is_array()) return std::nullopt;
  return listed->as_array();
}

bool share_a_value(const Json::Array& a, const Json::Array& b) {
  return std::any_of(a.begin(), a.end(), [&](const Json& value) {
    return std::find(b.begin(), b.end(), value) != b.end();
  });
}

std::string single_type(const Json& schema) {
  const Json* type = schema.find("type");
  if (type != nullptr && type->is_string()) {
    // Integers are numbers, too.
    return type->as_string() == "integer" ? "number" : type->as_string();
  }
  return {};
}

bool requires_property(const Json& schema, const std::string& name) {
  const Json* required = schema.find("required");
  if (required == nullptr || !required->is_array()) return false;
  const Json::Array& names = required->as_array();
  return std::find(names.begin(), names.end(), Json(name)) != names.end();
}

bool told_apart_by_property(const Json& a, const Json& b, const Json& root) {
  const Json* properties = a.find("properties");
  const Json* others = b.find("properties");
  if (properties == nullptr || !properties->is_object() || others == nullptr) return false;
  for (const auto& [name, schema] : properties->as_object()) {
    const Json* other = others->find(name);
    if (other == nullptr || !requires_property(a, name) || !requires_property(b, name)) continue;
    const auto mine = fixed_values(resolved(schema, root));
    const auto theirs = fixed_values(resolved(*other, root));
    if (mine && theirs && !share_a_value(*mine, *theirs)) return true;
  }
  return false;
}

bool are_apart(const Json& a, const Json& b, const Json& root) {
  const std::string type_a = single_type(a), type_b = single_type(b);
  if (!type_a.empty() && !type_b.empty() && type_a != type_b) return true;
  const auto values_a = fixed_values(a), values_b = fixed_values(b);
  if (values_a && values_b) return !share_a_value(*values_a, *values_b);
  return type_a == "object" && type_b == "object" && told_apart_by_property(a, b, root);
}

}  // namespace

bool may_overlap(const Json& schemas, const Json& root) {
  const Json::Array& list = schemas.as_array();
  for (size_t i = 0; i < list.size(); ++i) {
    for (size_t j = i + 1; j < list.size(); ++j) {
      if (!are_apart(resolved(list[i], root), resolved(list[j], root), root)) return true;
    }
  }
  return false;
}

}  // namespace qround::server
