// The values a template computes with: Python's, as far as templates can see them.
//
// A Value is small and cheap to copy; strings and containers are shared and immutable, which is
// also what the reference's sandbox allows. Namespaces, loops and iterators are the only values
// with a state. Values nest at most kMaxNesting levels, so recursive code over them cannot exhaust
// the stack.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja_big_integer.h"

namespace qround::jinja {

struct Dict;
struct Function;
struct Iterator;
struct Loop;
struct Macro;
struct Namespace;
struct Range;
struct Sequence;
struct String;
struct Undefined;
struct View;

constexpr uint32_t kMaxNesting = 600;

// In the order of Value::Storage's alternatives.
enum class Type {
  none,
  undefined,
  boolean,
  integer,
  big_integer,
  real,
  string,
  list,
  tuple,
  dict,
  range,
  view,
  iterator,
  name_space,
  macro,
  function,
  loop,
};

class Value {
 public:
  using Items = std::vector<Value>;

  Value() = default;  // None
  static Value boolean(bool value) { return make<Type::boolean>(value); }
  static Value integer(int64_t value) { return make<Type::integer>(value); }
  static Value integer(const BigInteger& value);  // int64 where it fits
  static Value real(double value) { return make<Type::real>(value); }
  static Value string(std::string bytes, bool markup = false);  // valid UTF-8
  static Value undefined_variable(std::string_view name);
  static Value undefined_because(std::string hint);
  static Value undefined_attribute(const Value& owner, std::string_view name);
  static Value undefined_element(const Value& owner, std::string key_repr);
  // Containers throw Error when they would nest deeper than kMaxNesting.
  static Value list(Items items);
  static Value tuple(Items items);
  static Value group(Value grouper, Value members);  // a tuple with the names `grouper` and `list`
  static Value dict(Dict members);
  static Value range(int64_t start, int64_t stop, int64_t step);
  static Value view(View view);
  // `deepest` is the depth of the deepest value that `next` holds.
  static Value iterator(std::string_view type_name, uint32_t deepest,
                        std::function<std::optional<Value>()> next);
  static Value name_space(std::shared_ptr<Namespace> space);
  static Value macro(std::shared_ptr<const Macro> macro);
  static Value function(Function function);
  static Value loop(std::shared_ptr<Loop> loop);

  Type type() const { return static_cast<Type>(storage_.index()); }
  bool is_none() const { return type() == Type::none; }
  bool is_undefined() const { return type() == Type::undefined; }
  bool is_boolean() const { return type() == Type::boolean; }
  bool is_integer() const { return type() == Type::integer; }
  bool is_big_integer() const { return type() == Type::big_integer; }
  bool is_real() const { return type() == Type::real; }
  bool is_string() const { return type() == Type::string; }
  bool is_list() const { return type() == Type::list; }
  bool is_tuple() const { return type() == Type::tuple; }
  bool is_sequence() const { return is_list() || is_tuple(); }
  bool is_dict() const { return type() == Type::dict; }
  bool is_number() const;  // booleans included, as in Python

  // Requires the type to match.
  bool as_boolean() const { return std::get<bool>(storage_); }
  int64_t as_integer() const { return std::get<int64_t>(storage_); }
  const BigInteger& as_big_integer() const;
  double as_real() const { return std::get<double>(storage_); }
  const String& as_string() const { return *get<Type::string>(); }
  const std::string& bytes() const;  // of a string
  const Undefined& as_undefined() const { return *get<Type::undefined>(); }
  const Items& items() const;  // of a list or tuple
  const Sequence& as_sequence() const;
  const Dict& as_dict() const { return *get<Type::dict>(); }
  const std::shared_ptr<const Dict>& shared_dict() const { return get<Type::dict>(); }
  const Range& as_range() const { return *get<Type::range>(); }
  const View& as_view() const { return *get<Type::view>(); }
  Iterator& as_iterator() const { return *get<Type::iterator>(); }
  Namespace& as_name_space() const { return *get<Type::name_space>(); }
  const Macro& as_macro() const { return *get<Type::macro>(); }
  const Function& as_function() const { return *get<Type::function>(); }
  Loop& as_loop() const { return *get<Type::loop>(); }

  // The value as an index, count or flag: a boolean or a 64-bit integer, else nullopt.
  std::optional<int64_t> to_index() const;
  // Any number, booleans included, else nullopt.
  std::optional<double> to_double() const;

  bool truthy() const;                   // Python's bool()
  bool same_object(const Value&) const;  // Python's `is`, scalars by value
  uint32_t depth() const;                // 0 for scalars, 1 + the deepest member for containers

  std::string_view type_name() const;  // Python's: "NoneType", "str", "list", ...
  std::string object_name() const;     // as error messages name it: "None", "dict object", ...

 private:
  template <typename T>
  using Shared = std::shared_ptr<T>;
  using Storage =
      std::variant<std::monostate, Shared<const Undefined>, bool, int64_t, Shared<const BigInteger>,
                   double, Shared<const String>, Shared<const Sequence>, Shared<const Sequence>,
                   Shared<const Dict>, Shared<const Range>, Shared<const View>, Shared<Iterator>,
                   Shared<Namespace>, Shared<const Macro>, Shared<const Function>, Shared<Loop>>;

  template <Type kType, typename T>
  static Value make(T&& content) {
    Value value;
    value.storage_.emplace<static_cast<size_t>(kType)>(std::forward<T>(content));
    return value;
  }
  template <Type kType>
  const std::variant_alternative_t<static_cast<size_t>(kType), Storage>& get() const {
    return std::get<static_cast<size_t>(kType)>(storage_);
  }

  Storage storage_;
};

// A name or attribute that does not exist. Printing gives nothing, using it gives message().
struct Undefined {
  enum class Cause { hint, variable, attribute, element };
  Cause cause;
  std::string name;   // the hint itself, the variable, the attribute, or repr() of the key
  std::string owner;  // object_name() of what was asked, for attribute and element

  std::string message() const;
};

struct String {
  std::string bytes;
  size_t length;        // in code points
  bool markup = false;  // made by `safe` or `escape`; joins with others by escaping them

  bool is_ascii() const { return length == bytes.size(); }
};

struct Sequence {
  Value::Items items;
  uint32_t depth = 1;
  bool is_group = false;
};

// Members in insertion order; keys are distinct under Python's ==. A key is a scalar or a tuple of
// scalars.
struct Dict {
  using Member = std::pair<Value, Value>;

  static bool can_hold(const Value& key);     // whether it is hashable
  const Value* find(const Value& key) const;  // nullptr as well when the key is not hashable
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);  // throws Error "unhashable type: ..."
  void set(std::string_view key, Value value);

  std::vector<Member> members;
  uint32_t depth = 1;

 private:
  size_t index_of(const Value& key) const;  // members.size() when absent

  std::unordered_multimap<size_t, size_t> index_;  // hash to index, once the dict is large
};

struct Range {
  int64_t start, stop, step;
  int64_t size;

  int64_t at(int64_t index) const { return start + index * step; }
};

// dict.keys(), dict.values(), dict.items()
struct View {
  enum class Kind { keys, values, items };
  Kind kind;
  std::shared_ptr<const Dict> dict;

  Value at(size_t index) const;
};

// A Python generator: yields each element once.
struct Iterator {
  std::string_view type_name;
  std::function<std::optional<Value>()> next;
  uint32_t depth;
};

struct Namespace {
  Dict attributes;
};

}  // namespace qround::jinja
