// Filters that reorder, group, combine or pick the elements of a sequence.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "tokenizer/jinja_arithmetic.h"
#include "tokenizer/jinja_attribute_path.h"
#include "tokenizer/jinja_compare.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_generator.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_sort.h"
#include "tokenizer/jinja_text_search.h"
#include "tokenizer/jinja_unicode.h"

namespace qround::jinja {
namespace {

Value first(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("first", arguments);
  if (auto item = iterate(runtime.budget, input)()) return *item;
  return Value::undefined_because("No first item, sequence was empty.");
}

Value last(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("last", arguments);
  const auto size = length(input);
  if (!size) throw Error(fmt::format("'{}' object is not reversible", input.type_name()));
  if (*size == 0) return Value::undefined_because("No last item, sequence was empty.");
  const auto last_index = static_cast<int64_t>(*size) - 1;
  if (input.is_dict()) return input.as_dict().members.back().first;
  if (input.type() == Type::view) return input.as_view().at(*size - 1);
  return *element(runtime.budget, input, Value::integer(last_index));
}

Value list(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("list", arguments);
  if (input.is_list()) return input;
  return Value::list(to_items(runtime.budget, input));
}

std::string_view reversed_type(const Value& value) {
  switch (value.type()) {
    case Type::list:
      return "list_reverseiterator";
    case Type::dict:
      return "dict_reversekeyiterator";
    case Type::range:
      return "range_iterator";
    default:
      return "reversed";
  }
}

Value reversed(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("reverse", arguments);
  if (input.is_string()) {
    return slice(runtime.budget, input, {Value(), Value(), Value::integer(-1)});
  }
  if (!is_iterable(input)) throw Error("argument must be iterable");
  Value::Items items = to_items(runtime.budget, input);
  std::reverse(items.begin(), items.end());
  if (!length(input)) return Value::list(std::move(items));
  return Value::iterator(reversed_type(input), input.depth(), each(std::move(items)));
}

Value join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"d", "attribute"});
  const std::string separator =
      parameters.find(0) == nullptr ? "" : to_str(runtime.budget, parameters.at(0));
  const AttributePath path =
      parameters.find(1) == nullptr ? AttributePath() : AttributePath(parameters.at(1));
  TextBuilder out(runtime.budget);
  const Next next = iterate(runtime.budget, input);
  for (bool is_first = true; const auto item = next(); is_first = false) {
    if (!is_first) out.append(separator);
    append_str(out, path.get(runtime, *item));
  }
  return Value::string(out.take());
}

// Indices of `keys` in the order of their values; equal ones keep their order.
std::vector<size_t> sorted_order(Runtime& runtime, const Value::Items& keys, bool descending) {
  runtime.budget.produce(keys.size(), sizeof(size_t));
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  merge_sort(order, [&](size_t a, size_t b) {
    return descending ? ordered(runtime.budget, Ordering::less, keys[b], keys[a])
                      : ordered(runtime.budget, Ordering::less, keys[a], keys[b]);
  });
  return order;
}

Value::Items in_order(Runtime& runtime, const Value::Items& items,
                      const std::vector<size_t>& order) {
  runtime.budget.produce(items.size(), sizeof(Value));
  Value::Items sorted;
  sorted.reserve(items.size());
  for (size_t index : order) sorted.push_back(items[index]);
  return sorted;
}

// The keys `sort` compares: lists, one element per comma-separated attribute.
Value::Items sort_keys(Runtime& runtime, const Value::Items& items, const Value& attribute,
                       bool case_sensitive) {
  std::vector<AttributePath> paths;
  if (attribute.is_string()) {
    for (std::string_view part : split(attribute.bytes(), ",", -1, Side::left)) {
      paths.emplace_back(Value::string(std::string(part)));
    }
  } else {
    paths.emplace_back(attribute);
  }
  Value::Items keys;
  for (const Value& item : items) {
    Value::Items parts;
    for (const AttributePath& path : paths) {
      Value part = path.get(runtime, item);
      parts.push_back(case_sensitive ? part : without_case(runtime, part));
    }
    keys.push_back(runtime.list(std::move(parts)));
  }
  return keys;
}

Value sorted(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const Value::Items items = to_items(runtime.budget, input);
  const Value attribute = parameters.find(2) == nullptr ? Value() : parameters.at(2);
  const Value::Items keys = sort_keys(runtime, items, attribute, parameters.flag(1));
  return Value::list(in_order(runtime, items, sorted_order(runtime, keys, parameters.flag(0))));
}

Value dict_sorted(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = parameters.find(1) == nullptr ? "key" : parameters.string(1).bytes;
  if (by != "key" && by != "value") {
    throw Error("You can only sort by either \"key\" or \"value\"");
  }
  if (input.is_undefined()) throw Error(input.as_undefined().message());
  if (!input.is_dict()) {
    throw Error(fmt::format("'{}' object has no attribute 'items'", input.type_name()));
  }
  Value::Items keys;
  Value::Items pairs;
  for (const auto& [key, value] : input.as_dict().members) {
    runtime.budget.produce(4 * sizeof(Value));
    const Value& chosen = by == "key" ? key : value;
    keys.push_back(parameters.flag(0) ? chosen : without_case(runtime, chosen));
    pairs.push_back(Value::tuple({key, value}));
  }
  return Value::list(in_order(runtime, pairs, sorted_order(runtime, keys, parameters.flag(2))));
}

Next unique(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("unique", arguments, {"case_sensitive", "attribute"});
  const AttributePath path =
      parameters.find(1) == nullptr ? AttributePath() : AttributePath(parameters.at(1));
  Dict seen;
  Value::Items distinct;
  const Next next = iterate(runtime.budget, input);
  while (const auto item = next()) {
    Value key = path.get(runtime, *item);
    if (!parameters.flag(0)) key = without_case(runtime, key);
    runtime.budget.produce(4 * sizeof(Value));
    runtime.budget.step(key.is_tuple() ? key.items().size() : 0);
    const size_t n_before = seen.members.size();
    seen.set(std::move(key), Value());
    if (seen.members.size() > n_before) distinct.push_back(*item);
  }
  return each(std::move(distinct));
}

template <Ordering kBetter>
Value extreme(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("min", arguments, {"case_sensitive", "attribute"});
  const AttributePath path =
      parameters.find(1) == nullptr ? AttributePath() : AttributePath(parameters.at(1));
  const auto key_of = [&](const Value& item) {
    const Value key = path.get(runtime, item);
    return parameters.flag(0) ? key : without_case(runtime, key);
  };
  const Next next = iterate(runtime.budget, input);
  auto best = next();
  if (!best) return Value::undefined_because("No aggregated item, sequence was empty.");
  Value best_key = key_of(*best);
  while (auto item = next()) {
    Value key = key_of(*item);
    if (ordered(runtime.budget, kBetter, key, best_key)) {
      best = std::move(item);
      best_key = std::move(key);
    }
  }
  return *best;
}

Value sum(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("sum", arguments, {"attribute", "start"});
  const AttributePath path =
      parameters.find(0) == nullptr ? AttributePath() : AttributePath(parameters.at(0));
  Value total = parameters.find(1) == nullptr ? Value::integer(0) : parameters.at(1);
  if (total.is_string()) throw Error("sum() can't sum strings [use ''.join(seq) instead]");
  const Next next = iterate(runtime.budget, input);
  while (const auto item = next()) total = add(runtime.budget, total, path.get(runtime, *item));
  return total;
}

Next items(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("items", arguments);
  if (input.is_undefined()) return nothing();
  if (!input.is_dict()) throw Error("Can only get item pairs from a mapping.");
  return iterate(runtime.budget, Value::view({View::Kind::items, input.shared_dict()}));
}

Next batched(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = parameters.integer(0);
  Value::Items batches;
  Value::Items batch;
  for (Value& item : to_items(runtime.budget, input)) {
    if (static_cast<int64_t>(batch.size()) == size) {
      batches.push_back(runtime.list(std::move(batch)));
      batch.clear();
    }
    batch.push_back(std::move(item));
  }
  if (!batch.empty()) {
    if (parameters.is_given(1) && static_cast<int64_t>(batch.size()) < size) {
      runtime.budget.produce(static_cast<size_t>(size), sizeof(Value));
      batch.resize(static_cast<size_t>(size), parameters.at(1));
    }
    batches.push_back(runtime.list(std::move(batch)));
  }
  return each(std::move(batches));
}

Next sliced(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t n_slices = parameters.integer(0);
  const Value::Items all = to_items(runtime.budget, input);
  if (n_slices == 0) throw Error("integer division or modulo by zero");
  const auto size = static_cast<int64_t>(all.size());
  const int64_t n_longer = n_slices > 0 ? size % n_slices : 0;
  Value::Items slices;
  for (int64_t index = 0, begin = 0; index < n_slices; ++index) {
    const int64_t end = begin + size / n_slices + (index < n_longer ? 1 : 0);
    Value::Items part(all.begin() + begin, all.begin() + end);
    if (parameters.is_given(1) && index >= n_longer) part.push_back(parameters.at(1));
    slices.push_back(runtime.list(std::move(part)));
    runtime.budget.produce(sizeof(Sequence));
    begin = end;
  }
  return each(std::move(slices));
}

Value grouped(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const AttributePath path(parameters.at(0));
  const auto value_of = [&](const Value& item) {
    return parameters.is_given(1) ? path.get(runtime, item, parameters.at(1))
                                  : path.get(runtime, item);
  };
  const Value::Items all = to_items(runtime.budget, input);
  Value::Items keys;
  runtime.budget.produce(all.size(), sizeof(Value));
  for (const Value& item : all) {
    const Value key = value_of(item);
    keys.push_back(parameters.flag(2) ? key : without_case(runtime, key));
  }
  Value::Items groups;
  const auto order = sorted_order(runtime, keys, false);
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    Value::Items members;
    for (; end < order.size() && equal(runtime.budget, keys[order[begin]], keys[order[end]]);
         ++end) {
      members.push_back(all[order[end]]);
    }
    if (end == begin) end = begin + 1;  // a key unlike itself: nan
    const Value grouper = value_of(all[order[begin]]);
    groups.push_back(Value::group(grouper, runtime.list(std::move(members))));
  }
  return runtime.list(std::move(groups));
}

constexpr auto kFilters = std::to_array<Filter>({
    {"batch", lazy<batched>},
    {"dictsort", dict_sorted},
    {"first", first},
    {"groupby", grouped},
    {"items", lazy<items>},
    {"join", join},
    {"last", last},
    {"list", list},
    {"max", extreme<Ordering::greater>},
    {"min", extreme<Ordering::less>},
    {"reverse", reversed},
    {"slice", lazy<sliced>},
    {"sort", sorted},
    {"sum", sum},
    {"unique", lazy<unique>},
});

}  // namespace

std::span<const Filter> sequence_filters() { return kFilters; }

}  // namespace qround::jinja
