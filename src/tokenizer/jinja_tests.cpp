#include "tokenizer/jinja_tests.h"

#include <algorithm>
#include <array>

#include "tokenizer/jinja_arithmetic.h"
#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_compare.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

template <bool (*kHolds)(const Value&)>
bool simple(Runtime&, const Value& value, const Arguments& arguments) {
  refuse_arguments("test", arguments);
  return kHolds(value);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is_boolean(); }
bool is_true(const Value& value) { return value.is_boolean() && value.as_boolean(); }
bool is_false(const Value& value) { return value.is_boolean() && !value.as_boolean(); }
bool is_integer(const Value& value) { return value.is_integer() || value.is_big_integer(); }
bool is_float(const Value& value) { return value.is_real(); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is_dict(); }
bool is_escaped(const Value& value) { return value.is_string() && value.as_string().markup; }

// What has a length and can be subscripted; dict views cannot.
bool is_sequence(const Value& value) {
  return length(value).has_value() && value.type() != Type::view;
}

bool is_callable(const Value& value) {
  return value.type() == Type::macro || value.type() == Type::function ||
         value.type() == Type::loop || value.is_undefined();
}

bool string_method_holds(Runtime& runtime, const Value& value, std::string_view method) {
  const Value text = Value::string(to_str(runtime.budget, value));
  return find_string_method(method)->native(runtime, text, {}).as_boolean();
}

bool is_lower(Runtime& runtime, const Value& value, const Arguments&) {
  return string_method_holds(runtime, value, "islower");
}

bool is_upper(Runtime& runtime, const Value& value, const Arguments&) {
  return string_method_holds(runtime, value, "isupper");
}

bool has_remainder(Runtime& runtime, const Value& value, const Value& divisor, int64_t remainder) {
  return equal(runtime.budget, modulo(runtime.budget, value, divisor), Value::integer(remainder));
}

bool is_odd(Runtime& runtime, const Value& value, const Arguments&) {
  return has_remainder(runtime, value, Value::integer(2), 1);
}

bool is_even(Runtime& runtime, const Value& value, const Arguments&) {
  return has_remainder(runtime, value, Value::integer(2), 0);
}

bool is_divisible_by(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Parameters parameters("divisibleby", arguments, {"num"}, 1);
  return has_remainder(runtime, value, parameters.at(0), 0);
}

bool is_filter(Runtime&, const Value& value, const Arguments&) {
  return value.is_string() && find_filter(value.bytes()) != nullptr;
}

bool is_test(Runtime&, const Value& value, const Arguments&) {
  return value.is_string() && find_test(value.bytes()) != nullptr;
}

bool is_in(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Parameters parameters("in", arguments, {"seq"}, 1);
  return contains(runtime.budget, parameters.at(0), value);
}

bool is_same_as(Runtime&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sameas", arguments, {"other"}, 1);
  return value.same_object(parameters.at(0));
}

bool is_iterable_value(const Value& value) { return is_iterable(value); }

template <bool kEqual>
bool compares_equal(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Parameters parameters("eq", arguments, {"other"}, 1);
  return equal(runtime.budget, value, parameters.at(0)) == kEqual;
}

template <Ordering kOrdering>
bool compares(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Parameters parameters("comparison", arguments, {"other"}, 1);
  return ordered(runtime.budget, kOrdering, value, parameters.at(0));
}

struct Test {
  std::string_view name;
  TestFunction function;
};

constexpr auto kTests = std::to_array<Test>({
    {"!=", compares_equal<false>},
    {"<", compares<Ordering::less>},
    {"<=", compares<Ordering::less_or_equal>},
    {"==", compares_equal<true>},
    {">", compares<Ordering::greater>},
    {">=", compares<Ordering::greater_or_equal>},
    {"boolean", simple<is_boolean>},
    {"callable", simple<is_callable>},
    {"defined", simple<is_defined>},
    {"divisibleby", is_divisible_by},
    {"eq", compares_equal<true>},
    {"equalto", compares_equal<true>},
    {"escaped", simple<is_escaped>},
    {"even", is_even},
    {"false", simple<is_false>},
    {"filter", is_filter},
    {"float", simple<is_float>},
    {"ge", compares<Ordering::greater_or_equal>},
    {"greaterthan", compares<Ordering::greater>},
    {"gt", compares<Ordering::greater>},
    {"in", is_in},
    {"integer", simple<is_integer>},
    {"iterable", simple<is_iterable_value>},
    {"le", compares<Ordering::less_or_equal>},
    {"lessthan", compares<Ordering::less>},
    {"lower", is_lower},
    {"lt", compares<Ordering::less>},
    {"mapping", simple<is_mapping>},
    {"ne", compares_equal<false>},
    {"none", simple<is_none>},
    {"number", simple<is_number>},
    {"odd", is_odd},
    {"sameas", is_same_as},
    {"sequence", simple<is_sequence>},
    {"string", simple<is_string>},
    {"test", is_test},
    {"true", simple<is_true>},
    {"undefined", simple<is_undefined>},
    {"upper", is_upper},
});

}  // namespace

TestFunction find_test(std::string_view name) {
  const auto found = std::find_if(kTests.begin(), kTests.end(),
                                  [&](const Test& test) { return test.name == name; });
  return found == kTests.end() ? nullptr : found->function;
}

}  // namespace qround::jinja
