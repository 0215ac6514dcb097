#include "tokenizer/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tokenizer/jinja_function.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

constexpr size_t kIndexedSize = 8;

uint32_t checked_depth(uint32_t deepest_member) {
  if (deepest_member >= kMaxNesting) {
    throw Error(fmt::format("a value nests deeper than {} levels", kMaxNesting));
  }
  return deepest_member + 1;
}

uint32_t depth_of(const Value::Items& items) {
  uint32_t deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  return checked_depth(deepest);
}

// Numbers that are equal hash alike, whatever their type.
size_t hash_scalar(const Value& value) {
  switch (value.type()) {
    case Type::string:
      return std::hash<std::string_view>()(value.bytes());
    case Type::boolean:
    case Type::integer:
      return std::hash<int64_t>()(*value.to_index());
    case Type::big_integer:
      return std::hash<double>()(value.as_big_integer().to_double());
    case Type::real: {
      const double number = value.as_real();
      if (number == std::floor(number) && std::abs(number) < 9.2e18) {
        return std::hash<int64_t>()(static_cast<int64_t>(number));
      }
      return std::hash<double>()(number);
    }
    default:
      return static_cast<size_t>(value.type());
  }
}

size_t hash_key(const Value& key) {
  if (!key.is_tuple()) return hash_scalar(key);
  size_t hash = key.items().size();
  for (const Value& item : key.items()) hash = hash * 1000003 ^ hash_scalar(item);
  return hash;
}

bool equal_scalars(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return a.bytes() == b.bytes();
  if (!a.is_number() || !b.is_number()) return a.same_object(b);
  if (a.is_real() || b.is_real()) return *a.to_double() == *b.to_double();
  if (a.is_big_integer() || b.is_big_integer()) {
    return a.is_big_integer() && b.is_big_integer() && a.as_big_integer() == b.as_big_integer();
  }
  return *a.to_index() == *b.to_index();
}

bool equal_keys(const Value& a, const Value& b) {
  if (!a.is_tuple() || !b.is_tuple()) return equal_scalars(a, b);
  return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                    equal_scalars);
}

}  // namespace

Value Value::integer(const BigInteger& value) {
  if (const auto small = value.to_int64()) return integer(*small);
  return make<Type::big_integer>(std::make_shared<const BigInteger>(value));
}

Value Value::string(std::string bytes, bool markup) {
  const size_t length = count_code_points(bytes);
  return make<Type::string>(
      std::make_shared<const String>(String{std::move(bytes), length, markup}));
}

Value Value::undefined_variable(std::string_view name) {
  return make<Type::undefined>(std::make_shared<const Undefined>(
      Undefined{Undefined::Cause::variable, std::string(name), {}}));
}

Value Value::undefined_because(std::string hint) {
  return make<Type::undefined>(
      std::make_shared<const Undefined>(Undefined{Undefined::Cause::hint, std::move(hint), {}}));
}

Value Value::undefined_attribute(const Value& owner, std::string_view name) {
  return make<Type::undefined>(std::make_shared<const Undefined>(
      Undefined{Undefined::Cause::attribute, std::string(name), owner.object_name()}));
}

Value Value::undefined_element(const Value& owner, std::string key_repr) {
  return make<Type::undefined>(std::make_shared<const Undefined>(
      Undefined{Undefined::Cause::element, std::move(key_repr), owner.object_name()}));
}

Value Value::list(Items items) {
  const uint32_t depth = depth_of(items);
  return make<Type::list>(std::make_shared<const Sequence>(Sequence{std::move(items), depth}));
}

Value Value::tuple(Items items) {
  const uint32_t depth = depth_of(items);
  return make<Type::tuple>(std::make_shared<const Sequence>(Sequence{std::move(items), depth}));
}

Value Value::group(Value grouper, Value members) {
  Items items{std::move(grouper), std::move(members)};
  const uint32_t depth = depth_of(items);
  return make<Type::tuple>(
      std::make_shared<const Sequence>(Sequence{std::move(items), depth, true}));
}

Value Value::dict(Dict members) {
  uint32_t deepest = 0;
  for (const auto& [key, value] : members.members) {
    deepest = std::max({deepest, key.depth(), value.depth()});
  }
  members.depth = checked_depth(deepest);
  return make<Type::dict>(std::make_shared<const Dict>(std::move(members)));
}

Value Value::range(int64_t start, int64_t stop, int64_t step) {
  // The distance may need 64 bits without a sign.
  const auto distance = [](int64_t from, int64_t to) {
    return static_cast<uint64_t>(to) - static_cast<uint64_t>(from);
  };
  uint64_t size = 0;
  if (step > 0 && stop > start) {
    size = (distance(start, stop) - 1) / static_cast<uint64_t>(step) + 1;
  } else if (step < 0 && stop < start) {
    size = (distance(stop, start) - 1) / (~static_cast<uint64_t>(step) + 1) + 1;
  }
  return make<Type::range>(
      std::make_shared<const Range>(Range{start, stop, step, static_cast<int64_t>(size)}));
}

Value Value::view(View view) {
  return make<Type::view>(std::make_shared<const View>(std::move(view)));
}

Value Value::iterator(std::string_view type_name, uint32_t deepest,
                      std::function<std::optional<Value>()> next) {
  return make<Type::iterator>(
      std::make_shared<Iterator>(Iterator{type_name, std::move(next), checked_depth(deepest)}));
}

Value Value::name_space(std::shared_ptr<Namespace> space) {
  return make<Type::name_space>(std::move(space));
}

Value Value::macro(std::shared_ptr<const Macro> macro) {
  return make<Type::macro>(std::move(macro));
}

Value Value::function(Function function) {
  checked_depth(function.self.depth());
  return make<Type::function>(std::make_shared<const Function>(std::move(function)));
}

Value Value::loop(std::shared_ptr<Loop> loop) {
  checked_depth(loop->depth());
  return make<Type::loop>(std::move(loop));
}

bool Value::is_number() const {
  switch (type()) {
    case Type::boolean:
    case Type::integer:
    case Type::big_integer:
    case Type::real:
      return true;
    default:
      return false;
  }
}

const BigInteger& Value::as_big_integer() const { return *get<Type::big_integer>(); }

const std::string& Value::bytes() const { return as_string().bytes; }

const Sequence& Value::as_sequence() const {
  return is_list() ? *get<Type::list>() : *get<Type::tuple>();
}

const Value::Items& Value::items() const { return as_sequence().items; }

std::optional<int64_t> Value::to_index() const {
  if (is_integer()) return as_integer();
  if (is_boolean()) return as_boolean() ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::to_double() const {
  if (is_real()) return as_real();
  if (is_big_integer()) return as_big_integer().to_double();
  if (const auto index = to_index()) return static_cast<double>(*index);
  return std::nullopt;
}

bool Value::truthy() const {
  switch (type()) {
    case Type::none:
    case Type::undefined:
      return false;
    case Type::boolean:
      return as_boolean();
    case Type::integer:
      return as_integer() != 0;
    case Type::big_integer:
      return true;
    case Type::real:
      return as_real() != 0;
    case Type::string:
      return !bytes().empty();
    case Type::list:
    case Type::tuple:
      return !items().empty();
    case Type::dict:
      return !as_dict().members.empty();
    case Type::range:
      return as_range().size != 0;
    case Type::view:
      return !as_view().dict->members.empty();
    case Type::iterator:
    case Type::name_space:
    case Type::macro:
    case Type::function:
    case Type::loop:
      return true;
  }
  return true;
}

bool Value::same_object(const Value& other) const {
  if (type() != other.type()) return false;
  switch (type()) {
    case Type::string:
      return bytes() == other.bytes() && as_string().markup == other.as_string().markup;
    case Type::big_integer:
      return as_big_integer() == other.as_big_integer();
    case Type::undefined:
      return get<Type::undefined>() == other.get<Type::undefined>();
    default:
      return storage_ == other.storage_;
  }
}

uint32_t Value::depth() const {
  switch (type()) {
    case Type::list:
    case Type::tuple:
      return as_sequence().depth;
    case Type::dict:
      return as_dict().depth;
    case Type::view:
      return as_view().dict->depth;
    case Type::iterator:
      return as_iterator().depth;
    case Type::function:
      return as_function().self.depth() + 1;
    case Type::loop:
      return as_loop().depth() + 1;
    default:
      return 0;
  }
}

std::string_view Value::type_name() const {
  switch (type()) {
    case Type::none:
      return "NoneType";
    case Type::undefined:
      return "Undefined";
    case Type::boolean:
      return "bool";
    case Type::integer:
    case Type::big_integer:
      return "int";
    case Type::real:
      return "float";
    case Type::string:
      return as_string().markup ? "Markup" : "str";
    case Type::list:
      return "list";
    case Type::tuple:
      return as_sequence().is_group ? "_GroupTuple" : "tuple";
    case Type::dict:
      return "dict";
    case Type::range:
      return "range";
    case Type::view:
      switch (as_view().kind) {
        case View::Kind::keys:
          return "dict_keys";
        case View::Kind::values:
          return "dict_values";
        case View::Kind::items:
          return "dict_items";
      }
      return "dict_items";
    case Type::iterator:
      return as_iterator().type_name;
    case Type::name_space:
      return "TemplateNamespace";
    case Type::macro:
      return "Macro";
    case Type::function:
      return "builtin_function_or_method";
    case Type::loop:
      return "LoopContext";
  }
  return "object";
}

std::string Value::object_name() const {
  switch (type()) {
    case Type::none:
      return "None";
    case Type::macro:
    case Type::loop:
      return fmt::format("jinja2.runtime.{} object", type_name());
    case Type::string:
      if (as_string().markup) return "markupsafe.Markup object";
      break;
    case Type::name_space:
      return "transformers.utils.chat_template_utils.TemplateNamespace object";
    default:
      break;
  }
  return fmt::format("{} object", type_name());
}

std::string Undefined::message() const {
  switch (cause) {
    case Cause::hint:
      return name;
    case Cause::variable:
      return repr_of_text(name) + " is undefined";
    case Cause::attribute:
      return repr_of_text(owner) + " has no attribute " + repr_of_text(name);
    case Cause::element:
      return owner + " has no element " + name;
  }
  return name;
}

bool Dict::can_hold(const Value& key) {
  switch (key.type()) {
    case Type::list:
    case Type::dict:
    case Type::view:
      return false;
    case Type::tuple:
      return std::none_of(key.items().begin(), key.items().end(),
                          [](const Value& item) { return item.depth() > 0; });
    default:
      return true;
  }
}

size_t Dict::index_of(const Value& key) const {
  if (index_.empty()) {
    const auto found = std::find_if(members.begin(), members.end(), [&](const Member& member) {
      return equal_keys(member.first, key);
    });
    return static_cast<size_t>(found - members.begin());
  }
  const auto [begin, end] = index_.equal_range(hash_key(key));
  for (auto slot = begin; slot != end; ++slot) {
    if (equal_keys(members[slot->second].first, key)) return slot->second;
  }
  return members.size();
}

const Value* Dict::find(const Value& key) const {
  if (!can_hold(key)) return nullptr;
  const size_t index = index_of(key);
  return index == members.size() ? nullptr : &members[index].second;
}

const Value* Dict::find(std::string_view key) const {
  if (index_.empty()) {
    for (const auto& [name, value] : members) {
      if (name.is_string() && name.bytes() == key) return &value;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(std::hash<std::string_view>()(key));
  for (auto slot = begin; slot != end; ++slot) {
    const auto& [name, value] = members[slot->second];
    if (name.is_string() && name.bytes() == key) return &value;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (!can_hold(key)) throw Error(fmt::format("unhashable type: '{}'", key.type_name()));
  const size_t index = index_of(key);
  if (index < members.size()) {
    members[index].second = std::move(value);
    return;
  }
  members.emplace_back(std::move(key), std::move(value));
  if (!index_.empty()) {
    index_.emplace(hash_key(members.back().first), index);
  } else if (members.size() > kIndexedSize) {
    for (size_t i = 0; i < members.size(); ++i) index_.emplace(hash_key(members[i].first), i);
  }
}

void Dict::set(std::string_view key, Value value) {
  set(Value::string(std::string(key)), std::move(value));
}

Value View::at(size_t index) const {
  const auto& [key, value] = dict->members[index];
  switch (kind) {
    case Kind::keys:
      return key;
    case Kind::values:
      return value;
    case Kind::items:
      return Value::tuple({key, value});
  }
  return key;
}

}  // namespace qround::jinja
