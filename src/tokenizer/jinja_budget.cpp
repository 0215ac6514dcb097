#include "tokenizer/jinja_budget.h"

#include <fmt/format.h>

#include "base/error.h"

namespace qround::jinja {

TextBuilder& TextBuilder::append(size_t count, std::string_view text) {
  budget_->produce(count, text.size());
  text_.reserve(text_.size() + count * text.size());
  for (size_t i = 0; i < count; ++i) text_ += text;
  return *this;
}

void Budget::fail_steps() const {
  throw Error(fmt::format("the template takes more than {} steps", limits_.max_steps))
      .hint("a loop without end, or a limit too low for this conversation");
}

void Budget::fail_produced() const {
  throw Error(fmt::format("the template produces more than {} bytes of intermediate values",
                          limits_.max_produced_bytes))
      .hint("a string that keeps growing, or a limit too low for this conversation");
}

void Budget::fail_depth() const {
  throw Error(fmt::format("the template nests deeper than {} levels", limits_.max_depth))
      .hint("a macro that calls itself without end");
}

}  // namespace qround::jinja
