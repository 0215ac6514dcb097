// The functions every template can call: range, dict, namespace, raise_exception, and strftime_now
// where the rendering has a clock.
#pragma once

#include <optional>
#include <string_view>

#include "tokenizer/jinja_function.h"

namespace qround::jinja {

// nullopt when there is no such function.
std::optional<Value> find_global(const Runtime& runtime, std::string_view name);

// Stores an attribute; throws Error for names the reference refuses.
void set_attribute(Runtime& runtime, Namespace& space, std::string_view name, Value value);

}  // namespace qround::jinja
