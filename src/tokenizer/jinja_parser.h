// Source text to a template's tree.
#pragma once

#include <memory>
#include <string_view>

#include "tokenizer/jinja_ast.h"

namespace qround::jinja {

// Throws Error whose message is the reference's and whose file() is "NAME:LINE". Statements that
// load other templates (extends, include, import, from, block), recursive loops and automatic
// escaping are refused.
std::shared_ptr<const Body> parse(std::string_view source, std::string_view name);

}  // namespace qround::jinja
