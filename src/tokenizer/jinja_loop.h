// The `loop` of a for statement: where the iteration stands, what comes before and after.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tokenizer/jinja_function.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

// Elements are taken from the source one at a time, at most one ahead (when `last` or `nextitem` is
// asked), because a loop's filter may depend on what the body did before.
struct Loop {
  using Next = std::function<std::optional<Value>()>;

  // `size` where the source knows it beforehand.
  Loop(const Value& iterable, Next source, std::optional<size_t> size);

  std::optional<Value> advance();  // the element the body runs for next
  bool is_last();
  size_t length(Budget& budget);  // takes all elements out of a source without a size
  // Lets go of every element; for the end of the statement, so that no loop can keep itself alive.
  void close();
  uint32_t depth() const { return depth_; }
  std::string describe() const;

  // nullopt when a loop has no such attribute.
  static std::optional<Value> attribute(Runtime& runtime, const Value& loop, std::string_view name);

  int64_t index0 = -1;
  std::optional<Value> current, previous;
  std::optional<Value::Items> last_changed;

 private:
  std::optional<Value> take();
  const std::optional<Value>& peek();

  Next source_;
  std::optional<size_t> size_;
  std::optional<Value> ahead_;
  uint32_t depth_;
};

}  // namespace qround::jinja
