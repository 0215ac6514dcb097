#include "server/json_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "server/api_error.h"
#include "server/json_pointer.h"
#include "server/json_text_rules.h"
#include "server/schema_overlap.h"

namespace qround::server {
namespace {

constexpr size_t kMaxGrammarItems = 400'000;
constexpr int64_t kMaxLength = 20'000;  // of minLength, maxLength, minItems, maxItems

// Keywords that restrict a value in ways no grammar here expresses.
constexpr std::array<std::string_view, 27> kUnsupported = {"pattern",
                                                           "format",
                                                           "minimum",
                                                           "maximum",
                                                           "exclusiveMinimum",
                                                           "exclusiveMaximum",
                                                           "multipleOf",
                                                           "contains",
                                                           "minContains",
                                                           "maxContains",
                                                           "minProperties",
                                                           "maxProperties",
                                                           "propertyNames",
                                                           "patternProperties",
                                                           "dependentRequired",
                                                           "dependentSchemas",
                                                           "dependencies",
                                                           "not",
                                                           "if",
                                                           "then",
                                                           "else",
                                                           "unevaluatedItems",
                                                           "unevaluatedProperties",
                                                           "additionalItems",
                                                           "$dynamicRef",
                                                           "$recursiveRef",
                                                           "contentEncoding"};

// Keywords that say something about the value; the others are notes.
constexpr std::array<std::string_view, 16> kSupported = {
    "type",       "enum",      "const",     "anyOf",
    "oneOf",      "allOf",     "$ref",      "items",
    "required",   "minItems",  "maxItems",  "prefixItems",
    "properties", "minLength", "maxLength", "additionalProperties"};

class SchemaCompiler {
 public:
  explicit SchemaCompiler(const Json& root) : root_(root), text_(grammar_) {}

  Grammar compile() {
    const GrammarItem value = compile(root_, "#");
    grammar_.root = grammar_.add_rule({{text_.leading(), value}});
    switch (check_grammar(grammar_)) {
      case GrammarFlaw::none:
        break;
      case GrammarFlaw::endless:
        refuse("#", "no finite value fits the schema");
      case GrammarFlaw::circular:
        refuse("#", "the schema refers to itself without end");
    }
    return std::move(grammar_);
  }

 private:
  [[noreturn]] static void refuse(const std::string& place, const std::string& why) {
    throw ApiError::bad_parameter("response_format",
                                  fmt::format("JSON schema, {}: {}", place, why));
  }

  void check_size(const std::string& place) {
    for (; rules_sized_ < grammar_.rules.size(); ++rules_sized_) {
      for (const auto& sequence : grammar_.rules[rules_sized_]) items_ += sequence.size() + 1;
    }
    if (items_ > kMaxGrammarItems) refuse(place, "the schema is too large");
  }

  // A rule per schema, so that a schema that holds a reference to itself ends.
  GrammarItem compile(const Json& schema, const std::string& place) {
    const auto [known, fresh] = rules_.try_emplace(&schema, 0);
    if (!fresh) return Grammar::rule(known->second);
    const uint32_t rule = known->second = grammar_.add_rule();
    std::vector<GrammarSequence> alternatives;
    for (const GrammarItem& item : forms(schema, place)) alternatives.push_back({item});
    grammar_.rules[rule] = std::move(alternatives);
    check_size(place);
    return Grammar::rule(rule);
  }

  std::vector<GrammarItem> forms(const Json& schema, const std::string& place);
  // Schemas without references and combinations.
  std::vector<GrammarItem> values(const Json& schema, const std::string& place);
  GrammarItem typed(const Json& schema, const std::string& type, const std::string& place);
  std::vector<GrammarItem> any_of(const Json& parts, const std::string& place);
  GrammarItem object(const Json& schema, const std::string& place);
  GrammarItem array(const Json& schema, const std::string& place);
  GrammarItem string(const Json& schema, const std::string& place);
  static void check_keywords(const Json& schema, const std::string& place);
  static void check_alone(const Json& schema, std::string_view keyword, const std::string& place);
  static int64_t count(const Json& schema, const char* key, int64_t otherwise,
                       const std::string& place);

  const Json& root_;
  Grammar grammar_;
  JsonTextRules text_;
  std::map<const Json*, uint32_t> rules_;
  size_t rules_sized_ = 0, items_ = 0;
};

void SchemaCompiler::check_keywords(const Json& schema, const std::string& place) {
  for (const std::string_view keyword : kUnsupported) {
    if (schema.find(keyword) != nullptr) {
      refuse(place, fmt::format("the keyword \"{}\" is not supported", keyword));
    }
  }
  const Json* unique = schema.find("uniqueItems");
  if (unique != nullptr && !(unique->is_bool() && !unique->as_bool())) {
    refuse(place, "the keyword \"uniqueItems\" is not supported");
  }
}

void SchemaCompiler::check_alone(const Json& schema, std::string_view keyword,
                                 const std::string& place) {
  for (const std::string_view other : kSupported) {
    if (other != keyword && schema.find(other) != nullptr) {
      refuse(place, fmt::format("\"{}\" beside \"{}\" is not supported", other, keyword));
    }
  }
}

int64_t SchemaCompiler::count(const Json& schema, const char* key, int64_t otherwise,
                              const std::string& place) {
  const Json* value = schema.find(key);
  if (value == nullptr) return otherwise;
  const bool whole = value->is_int() && value->as_int() >= 0;
  if (!whole) refuse(place, fmt::format("{} must be a whole number", key));
  if (value->as_int() > kMaxLength) {
    refuse(place, fmt::format("{} above {} is not supported", key, kMaxLength));
  }
  return value->as_int();
}

std::vector<GrammarItem> SchemaCompiler::forms(const Json& schema, const std::string& place) {
  if (schema.is_bool()) {
    // `false` fits nothing: a rule without alternatives.
    return schema.as_bool() ? std::vector<GrammarItem>{text_.value()} : std::vector<GrammarItem>{};
  }
  if (!schema.is_object()) refuse(place, "a schema must be an object or a boolean");
  check_keywords(schema, place);
  if (const Json* reference = schema.find("$ref")) {
    check_alone(schema, "$ref", place);
    const Json* target =
        reference->is_string() ? find_reference(root_, reference->as_string()) : nullptr;
    if (target == nullptr) refuse(place, "\"$ref\" must name a place inside the schema");
    return {compile(*target, reference->as_string())};
  }
  for (const char* key : {"anyOf", "oneOf", "allOf"}) {
    const Json* parts = schema.find(key);
    if (parts == nullptr) continue;
    check_alone(schema, key, place);
    const std::string inside = fmt::format("{}/{}", place, key);
    if (!parts->is_array() || parts->as_array().empty()) refuse(inside, "must be a list");
    if (std::string_view(key) == "allOf" && parts->as_array().size() != 1) {
      refuse(place, "\"allOf\" of several schemas is not supported");
    }
    if (std::string_view(key) == "oneOf" && may_overlap(*parts, root_)) {
      refuse(place, "\"oneOf\" of schemas that one value may fit together is not supported");
    }
    return any_of(*parts, inside);
  }
  return values(schema, place);
}

std::vector<GrammarItem> SchemaCompiler::any_of(const Json& parts, const std::string& place) {
  std::vector<GrammarItem> items;
  for (size_t i = 0; i < parts.as_array().size(); ++i) {
    items.push_back(compile(parts.as_array()[i], fmt::format("{}/{}", place, i)));
  }
  return items;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_int();
  return value.type_name() == type;
}

std::vector<std::string> type_names(const Json& schema, const std::string& place) {
  const Json* type = schema.find("type");
  std::vector<std::string> names;
  if (type == nullptr) return names;
  const auto add = [&](const Json& name) {
    constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "integer", "number",
                                                        "string", "array",   "object"};
    if (!name.is_string() ||
        std::find(kTypes.begin(), kTypes.end(), name.as_string()) == kTypes.end()) {
      throw ApiError::bad_parameter("response_format",
                                    fmt::format("JSON schema, {}: unknown type", place));
    }
    names.push_back(name.as_string());
  };
  if (!type->is_array()) {
    add(*type);
    return names;
  }
  for (const Json& name : type->as_array()) add(name);
  return names;
}

std::vector<GrammarItem> SchemaCompiler::values(const Json& schema, const std::string& place) {
  std::vector<std::string> types = type_names(schema, place);
  const Json* constant = schema.find("const");
  const Json* listed = schema.find("enum");
  if (constant != nullptr || listed != nullptr) {
    for (const std::string_view other : kSupported) {
      const bool beside = other != "type" && other != "enum" && other != "const";
      if (beside && schema.find(other) != nullptr) {
        refuse(place, fmt::format("\"{}\" beside fixed values is not supported", other));
      }
    }
    if (listed != nullptr && !listed->is_array()) refuse(place, "\"enum\" must be a list");
    std::vector<GrammarItem> items;
    const Json::Array values = constant != nullptr ? Json::Array{*constant} : listed->as_array();
    for (const Json& value : values) {
      const bool typed = types.empty() || std::any_of(types.begin(), types.end(), [&](auto& type) {
                           return has_type(value, type);
                         });
      const bool among = constant == nullptr || listed == nullptr ||
                         std::find(listed->as_array().begin(), listed->as_array().end(), value) !=
                             listed->as_array().end();
      if (typed && among) items.push_back(text_.text(value.dump()));
    }
    return items;
  }
  if (types.empty()) {
    // A keyword speaks of values of its own type only; of all that fits, that type is meant.
    const auto has = [&](std::initializer_list<const char*> keys) {
      return std::any_of(keys.begin(), keys.end(),
                         [&](const char* key) { return schema.find(key) != nullptr; });
    };
    if (has({"properties", "required", "additionalProperties"})) types = {"object"};
    if (has({"items", "prefixItems", "minItems", "maxItems"})) types.emplace_back("array");
    if (has({"minLength", "maxLength"})) types.emplace_back("string");
  }
  if (types.empty()) return {text_.value()};
  std::vector<GrammarItem> items;
  for (const std::string& type : types) items.push_back(typed(schema, type, place));
  return items;
}

GrammarItem SchemaCompiler::typed(const Json& schema, const std::string& type,
                                  const std::string& place) {
  if (type == "null") return text_.null();
  if (type == "boolean") return text_.boolean();
  if (type == "integer") return text_.integer();
  if (type == "number") return text_.number();
  if (type == "string") return string(schema, place);
  return type == "array" ? array(schema, place) : object(schema, place);
}

GrammarItem SchemaCompiler::string(const Json& schema, const std::string& place) {
  const int64_t least = count(schema, "minLength", 0, place);
  const int64_t most = count(schema, "maxLength", -1, place);
  if (least == 0 && most < 0) return text_.string();
  if (most >= 0 && most < least) refuse(place, "maxLength is below minLength");
  return text_.bounded_string(static_cast<uint64_t>(least),
                              most < 0 ? std::nullopt : std::optional(static_cast<uint64_t>(most)));
}

// elements[k]: what follows when k elements are there.
GrammarItem SchemaCompiler::array(const Json& schema, const std::string& place) {
  const int64_t least = count(schema, "minItems", 0, place);
  int64_t most = count(schema, "maxItems", -1, place);
  if (most >= 0 && most < least) refuse(place, "maxItems is below minItems");
  const Json* first = schema.find("prefixItems");
  const Json* items = schema.find("items");
  if (first != nullptr && !first->is_array()) refuse(place, "\"prefixItems\" must be a list");
  const auto n_first = first == nullptr ? 0 : static_cast<int64_t>(first->as_array().size());
  const GrammarItem rest = items == nullptr ? text_.value() : compile(*items, place + "/items");
  if (least == 0 && most < 0 && n_first == 0) return text_.array_of(rest);
  const auto element = [&](int64_t k) {
    return k < n_first ? compile(first->as_array()[static_cast<size_t>(k)],
                                 fmt::format("{}/prefixItems/{}", place, k))
                       : rest;
  };
  const GrammarItem close = grammar_.bytes(one_byte(']'));
  const GrammarItem comma = grammar_.bytes(one_byte(','));
  // Beyond the last count that matters all elements are alike.
  const int64_t last = most >= 0 ? most : std::max(least, n_first);
  GrammarItem more = Grammar::rule(grammar_.add_rule());
  grammar_.rules[more.index] = {{text_.blanks(), close}};
  if (most < 0) {
    grammar_.rules[more.index].push_back({comma, text_.blanks(), rest, more});
  }
  for (int64_t k = last - 1; k >= 1; --k) {
    std::vector<GrammarSequence> alternatives = {{comma, text_.blanks(), element(k), more}};
    if (k >= least) alternatives.push_back({text_.blanks(), close});
    more = Grammar::rule(grammar_.add_rule(std::move(alternatives)));
  }
  std::vector<GrammarSequence> inside;
  if (least == 0) inside.push_back({close});
  if (last > 0) inside.push_back({element(0), more});
  const GrammarItem begin = Grammar::rule(grammar_.add_rule(std::move(inside)));
  check_size(place);
  return Grammar::rule(grammar_.add_rule({{grammar_.bytes(one_byte('[')), text_.blanks(), begin}}));
}

// Properties in the schema's order; two chains of rules: none written yet, some written.
GrammarItem SchemaCompiler::object(const Json& schema, const std::string& place) {
  struct Property {
    GrammarItem pair;
    bool required;
  };
  const Json* declared = schema.find("properties");
  const Json* additional = schema.find("additionalProperties");
  const Json* required = schema.find("required");
  if (declared != nullptr && !declared->is_object())
    refuse(place, "\"properties\" must be an object");
  if (required != nullptr && !required->is_array()) refuse(place, "\"required\" must be a list");
  const auto other_value = [&] {
    return additional == nullptr ? text_.value()
                                 : compile(*additional, place + "/additionalProperties");
  };
  std::vector<Property> properties;
  const auto is_required = [&](const std::string& name) {
    if (required == nullptr) return false;
    const auto& names = required->as_array();
    return std::find(names.begin(), names.end(), Json(name)) != names.end();
  };
  const auto add = [&](const std::string& name, GrammarItem value) {
    const GrammarItem key = text_.text(Json(name).dump() + ":");
    properties.push_back(
        {Grammar::rule(grammar_.add_rule({{key, text_.blanks(), value}})), is_required(name)});
  };
  if (declared != nullptr) {
    for (const auto& [name, value] : declared->as_object()) {
      add(name, compile(value, fmt::format("{}/properties/{}", place, name)));
    }
  }
  if (required != nullptr) {
    for (const Json& name : required->as_array()) {
      if (!name.is_string()) refuse(place, "\"required\" must be a list of names");
      const bool known = declared != nullptr && declared->find(name.as_string()) != nullptr;
      if (!known) add(name.as_string(), other_value());
    }
  }
  if (properties.empty()) {
    const bool closed = additional != nullptr && additional->is_bool() && !additional->as_bool();
    if (!closed) return text_.object_of(other_value());
  }
  const GrammarItem close = grammar_.bytes(one_byte('}'));
  const GrammarItem comma = grammar_.bytes(one_byte(','));
  GrammarItem none = Grammar::rule(grammar_.add_rule({{close}}));
  GrammarItem some = Grammar::rule(grammar_.add_rule({{text_.blanks(), close}}));
  for (auto property = properties.rbegin(); property != properties.rend(); ++property) {
    std::vector<GrammarSequence> first = {{property->pair, some}};
    std::vector<GrammarSequence> next = {{comma, text_.blanks(), property->pair, some}};
    if (!property->required) {
      first.push_back({none});
      next.push_back({some});
    }
    none = Grammar::rule(grammar_.add_rule(std::move(first)));
    some = Grammar::rule(grammar_.add_rule(std::move(next)));
  }
  check_size(place);
  return Grammar::rule(grammar_.add_rule({{grammar_.bytes(one_byte('{')), text_.blanks(), none}}));
}

}  // namespace

Grammar json_object_grammar() {
  Grammar grammar;
  JsonTextRules text(grammar);
  grammar.root = grammar.add_rule({{text.leading(), text.object()}});
  check_grammar(grammar);
  return grammar;
}

Grammar json_schema_grammar(const Json& schema) { return SchemaCompiler(schema).compile(); }

}  // namespace qround::server
