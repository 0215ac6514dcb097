#include "tokenizer/jinja_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tokenizer/jinja_iteration.h"

namespace qround::jinja {
namespace {

std::string_view symbol(Ordering ordering) {
  switch (ordering) {
    case Ordering::less:
      return "<";
    case Ordering::less_or_equal:
      return "<=";
    case Ordering::greater:
      return ">";
    case Ordering::greater_or_equal:
      return ">=";
  }
  return "<";
}

bool holds(Ordering ordering, std::partial_ordering result) {
  switch (ordering) {
    case Ordering::less:
      return result < 0;
    case Ordering::less_or_equal:
      return result <= 0;
    case Ordering::greater:
      return result > 0;
    case Ordering::greater_or_equal:
      return result >= 0;
  }
  return false;
}

BigInteger to_big_integer(const Value& value) {
  return value.is_big_integer() ? value.as_big_integer() : BigInteger(*value.to_index());
}

// Exact: an integer beyond 2^53 is not rounded before it is compared with a float.
std::partial_ordering compare_integer_with_real(const Value& integer, double real) {
  if (std::isnan(real)) return std::partial_ordering::unordered;
  if (std::isinf(real)) {
    return real > 0 ? std::partial_ordering::less : std::partial_ordering::greater;
  }
  const auto whole = to_big_integer(integer) <=> BigInteger::from_double(real);
  if (whole != 0) return whole;
  return 0.0 <=> real - std::trunc(real);
}

std::partial_ordering reversed(std::partial_ordering order) {
  if (order == std::partial_ordering::unordered) return order;
  return 0 <=> order;
}

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
  if (a.is_real() && b.is_real()) return a.as_real() <=> b.as_real();
  if (b.is_real()) return compare_integer_with_real(a, b.as_real());
  if (a.is_real()) return reversed(compare_integer_with_real(b, a.as_real()));
  if (a.is_big_integer() || b.is_big_integer()) return to_big_integer(a) <=> to_big_integer(b);
  return *a.to_index() <=> *b.to_index();
}

bool equal_items(Budget& budget, const Value::Items& a, const Value::Items& b) {
  if (&a == &b) return true;
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [&](const Value& left, const Value& right) {
           return equal(budget, left, right);
         });
}

bool equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
  if (&a == &b) return true;
  if (a.members.size() != b.members.size()) return false;
  return std::all_of(a.members.begin(), a.members.end(), [&](const Dict::Member& member) {
    const Value* other = b.find(member.first);
    return other != nullptr && equal(budget, member.second, *other);
  });
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.size != b.size) return false;
  return a.size == 0 || (a.start == b.start && (a.size == 1 || a.step == b.step));
}

bool equal_views(Budget& budget, const View& a, const View& b) {
  // Views of values are never equal but to themselves; keys and items compare as sets.
  if (a.kind == View::Kind::values || b.kind == View::Kind::values) return &a == &b;
  if (a.kind != b.kind || a.dict->members.size() != b.dict->members.size()) return false;
  if (a.kind == View::Kind::items) return equal_dicts(budget, *a.dict, *b.dict);
  return std::all_of(a.dict->members.begin(), a.dict->members.end(),
                     [&](const Dict::Member& m) { return b.dict->find(m.first) != nullptr; });
}

[[noreturn]] void fail_ordering(Ordering ordering, const Value& a, const Value& b) {
  if (a.is_undefined()) throw Error(a.as_undefined().message());
  if (b.is_undefined()) throw Error(b.as_undefined().message());
  throw Error(fmt::format("'{}' not supported between instances of '{}' and '{}'", symbol(ordering),
                          a.type_name(), b.type_name()));
}

bool ordered_items(Budget& budget, Ordering ordering, const Value::Items& a,
                   const Value::Items& b) {
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (!equal(budget, a[i], b[i])) return ordered(budget, ordering, a[i], b[i]);
  }
  return holds(ordering, a.size() <=> b.size());
}

bool text_contains(Budget& budget, const std::string& text, const Value& element) {
  if (!element.is_string()) {
    throw Error(
        fmt::format("'in <string>' requires string as left operand, not {}", element.type_name()));
  }
  budget.scan(text.size());
  return text.find(element.bytes()) != std::string::npos;
}

bool range_contains(Budget& budget, const Range& range, const Value& element) {
  for (int64_t i = 0; i < range.size; ++i) {
    if (equal(budget, Value::integer(range.at(i)), element)) return true;
  }
  return false;
}

bool dict_contains(Budget& budget, const Dict& dict, const Value& key) {
  if (!Dict::can_hold(key)) throw Error(fmt::format("unhashable type: '{}'", key.type_name()));
  budget.step(key.is_tuple() ? key.items().size() : 1);
  return dict.find(key) != nullptr;
}

}  // namespace

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::string:
      if (a.bytes().size() == b.bytes().size()) budget.scan(a.bytes().size());
      return a.bytes() == b.bytes();
    case Type::undefined:
      return true;
    case Type::list:
    case Type::tuple:
      return equal_items(budget, a.items(), b.items());
    case Type::dict:
      return equal_dicts(budget, a.as_dict(), b.as_dict());
    case Type::range:
      return equal_ranges(a.as_range(), b.as_range());
    case Type::view:
      return equal_views(budget, a.as_view(), b.as_view());
    default:
      return a.same_object(b);
  }
}

bool ordered(Budget& budget, Ordering ordering, const Value& a, const Value& b) {
  budget.step();
  if (a.is_number() && b.is_number()) return holds(ordering, compare_numbers(a, b));
  if (a.is_string() && b.is_string()) {
    budget.scan(std::min(a.bytes().size(), b.bytes().size()));
    return holds(ordering, a.bytes() <=> b.bytes());  // UTF-8 sorts as its code points do
  }
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    return ordered_items(budget, ordering, a.items(), b.items());
  }
  fail_ordering(ordering, a, b);
}

bool contains(Budget& budget, const Value& container, const Value& element) {
  switch (container.type()) {
    case Type::string:
      return text_contains(budget, container.bytes(), element);
    case Type::dict:
      return dict_contains(budget, container.as_dict(), element);
    case Type::range:
      return range_contains(budget, container.as_range(), element);
    case Type::list:
    case Type::tuple:
      return std::any_of(container.items().begin(), container.items().end(),
                         [&](const Value& item) { return equal(budget, item, element); });
    case Type::undefined:
      return false;
    case Type::view:
      if (container.as_view().kind == View::Kind::keys) {
        return dict_contains(budget, *container.as_view().dict, element);
      }
      break;
    default:
      break;
  }
  if (!is_iterable(container)) {
    throw Error(fmt::format("argument of type '{}' is not iterable", container.type_name()));
  }
  const auto next = iterate(budget, container);
  while (const auto item = next()) {
    if (equal(budget, *item, element)) return true;
  }
  return false;
}

}  // namespace qround::jinja
