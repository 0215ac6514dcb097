#include "tokenizer/jinja_loop.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "tokenizer/jinja_compare.h"

namespace qround::jinja {
namespace {

Value cycle(Runtime&, const Value& self, const Arguments& arguments) {
  const auto& choices = arguments.positional;
  if (choices.empty()) throw Error("no items for cycling given");
  return choices[static_cast<size_t>(self.as_loop().index0) % choices.size()];
}

Value changed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  Loop& loop = self.as_loop();
  const Value now = Value::tuple(arguments.positional);
  if (loop.last_changed && equal(runtime.budget, Value::tuple(*loop.last_changed), now)) {
    return Value::boolean(false);
  }
  loop.last_changed = now.items();
  return Value::boolean(true);
}

Value integer(size_t value) { return Value::integer(static_cast<int64_t>(value)); }

}  // namespace

Loop::Loop(const Value& iterable, Next source, std::optional<size_t> size)
    : source_(std::move(source)), size_(size), depth_(iterable.depth()) {}

std::optional<Value> Loop::take() {
  if (!ahead_) return source_();
  std::optional<Value> value = std::move(ahead_);
  ahead_.reset();
  return value;
}

const std::optional<Value>& Loop::peek() {
  if (!ahead_) ahead_ = source_();
  return ahead_;
}

std::optional<Value> Loop::advance() {
  std::optional<Value> value = take();
  if (value) {
    ++index0;
    previous = std::move(current);
    current = value;
  }
  return value;
}

bool Loop::is_last() { return !peek().has_value(); }

size_t Loop::length(Budget& budget) {
  if (size_) return *size_;
  auto rest = std::make_shared<Value::Items>();
  while (std::optional<Value> value = source_()) {
    budget.produce(sizeof(Value));
    rest->push_back(std::move(*value));
  }
  size_ = static_cast<size_t>(index0 + 1) + (ahead_ ? 1 : 0) + rest->size();
  source_ = [rest, position = size_t{0}]() mutable -> std::optional<Value> {
    if (position == rest->size()) return std::nullopt;
    return (*rest)[position++];
  };
  return *size_;
}

void Loop::close() {
  source_ = [] { return std::nullopt; };
  ahead_.reset();
  current.reset();
  previous.reset();
  last_changed.reset();
}

std::string Loop::describe() const {
  return size_ ? fmt::format("<LoopContext {}/{}>", index0 + 1, *size_)
               : fmt::format("<LoopContext {}>", index0 + 1);
}

std::optional<Value> Loop::attribute(Runtime& runtime, const Value& self, std::string_view name) {
  Loop& loop = self.as_loop();
  const auto index = static_cast<size_t>(loop.index0);
  if (name == "index") return integer(index + 1);
  if (name == "index0") return integer(index);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(loop.is_last());
  if (name == "length") return integer(loop.length(runtime.budget));
  if (name == "revindex") return integer(loop.length(runtime.budget) - index);
  if (name == "revindex0") return integer(loop.length(runtime.budget) - index - 1);
  if (name == "depth") return integer(1);
  if (name == "depth0") return integer(0);
  if (name == "previtem") {
    return loop.previous ? *loop.previous : Value::undefined_because("there is no previous item");
  }
  if (name == "nextitem") {
    const auto& next = loop.peek();
    return next ? *next : Value::undefined_because("there is no next item");
  }
  if (name == "cycle") return Value::function({"cycle", cycle, self});
  if (name == "changed") return Value::function({"changed", changed, self});
  return std::nullopt;
}

}  // namespace qround::jinja
