#include "tokenizer/jinja_iteration.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

// Yields at(0), at(1), ... at(size - 1).
template <typename At>
Next count_up(size_t size, At at) {
  return [size, at = std::move(at), index = size_t{0}]() mutable -> std::optional<Value> {
    if (index == size) return std::nullopt;
    return at(index++);
  };
}

Next code_points(Budget& budget, const Value& text) {
  return [&budget, text, offset = size_t{0}]() mutable -> std::optional<Value> {
    const std::string& bytes = text.bytes();
    if (offset == bytes.size()) return std::nullopt;
    const size_t begin = offset;
    next_code_point(bytes, offset);
    budget.produce(sizeof(String));
    return Value::string(bytes.substr(begin, offset - begin), text.as_string().markup);
  };
}

Next untouched_steps(Budget& budget, const Value& value) {
  switch (value.type()) {
    case Type::undefined:
      return [] { return std::nullopt; };
    case Type::string:
      return code_points(budget, value);
    case Type::list:
    case Type::tuple:
      return count_up(value.items().size(), [value](size_t i) { return value.items()[i]; });
    case Type::dict:
      return count_up(value.as_dict().members.size(),
                      [value](size_t i) { return value.as_dict().members[i].first; });
    case Type::range:
      return count_up(static_cast<size_t>(value.as_range().size), [value](size_t i) {
        return Value::integer(value.as_range().at(static_cast<int64_t>(i)));
      });
    case Type::view:
      return count_up(value.as_view().dict->members.size(),
                      [value](size_t i) { return value.as_view().at(i); });
    case Type::iterator:
      return [value] { return value.as_iterator().next(); };
    case Type::loop:
      return [value] { return value.as_loop().advance(); };
    default:
      break;
  }
  throw Error(fmt::format("'{}' object is not iterable", value.type_name()));
}

// The code points [begin, end) of a string.
std::string_view code_point_range(const String& text, size_t begin, size_t end) {
  const std::string_view bytes = text.bytes;
  if (text.is_ascii()) return bytes.substr(begin, end - begin);
  const size_t first = byte_offset(bytes, begin);
  return bytes.substr(first, byte_offset(bytes.substr(first), end - begin));
}

std::optional<size_t> position(const Value& key, size_t size) {
  const auto index = key.to_index();
  if (!index) return std::nullopt;
  const int64_t wrapped = *index < 0 ? *index + static_cast<int64_t>(size) : *index;
  if (wrapped < 0 || wrapped >= static_cast<int64_t>(size)) return std::nullopt;
  return static_cast<size_t>(wrapped);
}

std::optional<int64_t> slice_part(const Value& part) {
  if (part.is_none()) return std::nullopt;
  if (const auto index = part.to_index()) return index;
  if (part.is_big_integer()) {
    return part.as_big_integer().is_negative() ? std::numeric_limits<int64_t>::min() / 2
                                               : std::numeric_limits<int64_t>::max() / 2;
  }
  throw Error("slice indices must be integers or None or have an __index__ method");
}

// The positions a slice selects from `size` elements: first, first + step, ... `count` of them.
struct Selection {
  int64_t first = 0, step = 1, count = 0;
};

Selection select(const Slice& bounds, size_t size) {
  const auto length = static_cast<int64_t>(size);
  constexpr int64_t kFar = std::numeric_limits<int64_t>::max() / 2;
  const int64_t step = std::clamp(slice_part(bounds.step).value_or(1), -kFar, kFar);
  if (step == 0) throw Error("slice step cannot be zero");
  const int64_t lowest = step > 0 ? 0 : -1;
  const int64_t highest = step > 0 ? length : length - 1;
  const auto place = [&](const Value& part, int64_t fallback) {
    const auto given = slice_part(part);
    if (!given) return fallback;
    const int64_t wrapped = *given < 0 ? std::max(*given, -kFar) + length : *given;
    return std::clamp(wrapped, lowest, highest);
  };
  const int64_t start = place(bounds.start, step > 0 ? lowest : highest);
  const int64_t stop = place(bounds.stop, step > 0 ? highest : lowest);
  const int64_t distance = step > 0 ? stop - start : start - stop;
  const int64_t stride = step > 0 ? step : -step;
  return {start, step, distance > 0 ? (distance - 1) / stride + 1 : 0};
}

Value slice_text(Budget& budget, const Value& value, const Slice& bounds) {
  const String& text = value.as_string();
  const Selection chosen = select(bounds, text.length);
  const auto first = static_cast<size_t>(chosen.first);
  const auto count = static_cast<size_t>(chosen.count);
  budget.scan(text.bytes.size());
  TextBuilder out(budget);
  if (count == 0) {
    // nothing
  } else if (chosen.step == 1) {
    out.append(code_point_range(text, first, first + count));
  } else {
    std::vector<size_t> offsets;
    budget.produce(text.length, sizeof(size_t));
    offsets.reserve(text.length + 1);
    for (size_t offset = 0; offset < text.bytes.size(); next_code_point(text.bytes, offset)) {
      offsets.push_back(offset);
    }
    offsets.push_back(text.bytes.size());
    for (int64_t i = 0; i < chosen.count; ++i) {
      const auto at = static_cast<size_t>(chosen.first + i * chosen.step);
      out.append(std::string_view(text.bytes).substr(offsets[at], offsets[at + 1] - offsets[at]));
    }
  }
  return Value::string(out.take(), text.markup);
}

Value slice_items(Budget& budget, const Value& value, const Slice& bounds) {
  const Selection chosen = select(bounds, value.items().size());
  budget.produce(static_cast<size_t>(chosen.count), sizeof(Value));
  Value::Items items;
  items.reserve(static_cast<size_t>(chosen.count));
  for (int64_t i = 0; i < chosen.count; ++i) {
    items.push_back(value.items()[static_cast<size_t>(chosen.first + i * chosen.step)]);
  }
  return value.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value slice_range(const Range& range, const Slice& bounds) {
  const Selection chosen = select(bounds, static_cast<size_t>(range.size));
  const int64_t start = range.at(chosen.first);
  const int64_t step = range.step * chosen.step;
  return Value::range(start, start + chosen.count * step, step);
}

}  // namespace

bool is_iterable(const Value& value) {
  switch (value.type()) {
    case Type::undefined:
    case Type::string:
    case Type::list:
    case Type::tuple:
    case Type::dict:
    case Type::range:
    case Type::view:
    case Type::iterator:
    case Type::loop:
      return true;
    default:
      return false;
  }
}

Next iterate(Budget& budget, const Value& value) {
  return [&budget, next = untouched_steps(budget, value)] {
    budget.step();
    return next();
  };
}

Value::Items to_items(Budget& budget, const Value& value) {
  if (value.is_sequence()) {
    budget.produce(value.items().size(), sizeof(Value));
    return value.items();
  }
  Value::Items items;
  const Next next = iterate(budget, value);
  while (auto item = next()) {
    budget.produce(sizeof(Value));
    items.push_back(std::move(*item));
  }
  return items;
}

std::optional<size_t> length(const Value& value) {
  switch (value.type()) {
    case Type::undefined:
      return 0;
    case Type::string:
      return value.as_string().length;
    case Type::list:
    case Type::tuple:
      return value.items().size();
    case Type::dict:
      return value.as_dict().members.size();
    case Type::range:
      return static_cast<size_t>(value.as_range().size);
    case Type::view:
      return value.as_view().dict->members.size();
    default:
      return std::nullopt;
  }
}

std::optional<Value> element(Budget& budget, const Value& value, const Value& key) {
  switch (value.type()) {
    case Type::dict: {
      budget.step(key.is_tuple() ? key.items().size() : 1);
      const Value* member = value.as_dict().find(key);
      return member == nullptr ? std::nullopt : std::optional<Value>(*member);
    }
    case Type::string: {
      const auto index = position(key, value.as_string().length);
      if (!index) return std::nullopt;
      if (!value.as_string().is_ascii()) budget.scan(value.bytes().size());
      return Value::string(std::string(code_point_range(value.as_string(), *index, *index + 1)),
                           value.as_string().markup);
    }
    case Type::list:
    case Type::tuple: {
      const auto index = position(key, value.items().size());
      return index ? std::optional<Value>(value.items()[*index]) : std::nullopt;
    }
    case Type::range: {
      const Range& range = value.as_range();
      const auto index = position(key, static_cast<size_t>(range.size));
      if (!index) return std::nullopt;
      return Value::integer(range.at(static_cast<int64_t>(*index)));
    }
    default:
      return std::nullopt;
  }
}

Value slice(Budget& budget, const Value& value, const Slice& bounds) {
  switch (value.type()) {
    case Type::string:
      return slice_text(budget, value, bounds);
    case Type::list:
    case Type::tuple:
      return slice_items(budget, value, bounds);
    case Type::range:
      return slice_range(value.as_range(), bounds);
    case Type::undefined:
      throw Error(value.as_undefined().message());
    case Type::dict:
      throw Error("unhashable type: 'slice'");
    default:
      throw Error(fmt::format("'{}' object is not subscriptable", value.type_name()));
  }
}

}  // namespace qround::jinja
