#include "tokenizer/jinja_generator.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace qround::jinja {
namespace {

uint32_t depth_of(const Value& input, const Arguments& arguments) {
  uint32_t depth = input.depth();
  for (const Value& value : arguments.positional) depth = std::max(depth, value.depth());
  for (const auto& [name, value] : arguments.named) depth = std::max(depth, value.depth());
  return depth;
}

}  // namespace

Value generator(Runtime& runtime, const Value& input, const Arguments& arguments, Begin begin) {
  const size_t n_arguments = arguments.positional.size() + arguments.named.size();
  runtime.budget.produce(n_arguments + 1, sizeof(Value));
  auto steps = [&runtime, input, arguments, begin, next = Next()]() mutable {
    const Budget::Level level(runtime.budget);  // generators may read from one another
    if (!next) next = begin(runtime, input, arguments);
    return next();
  };
  return Value::iterator("generator", depth_of(input, arguments), std::move(steps));
}

Next nothing() {
  return [] { return std::nullopt; };
}

Next each(Value::Items items) {
  const auto shared = std::make_shared<const Value::Items>(std::move(items));
  return [shared, index = size_t{0}]() mutable -> std::optional<Value> {
    if (index == shared->size()) return std::nullopt;
    return (*shared)[index++];
  };
}

}  // namespace qround::jinja
