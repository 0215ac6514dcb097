#include "tokenizer/jinja_template.h"

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/jinja_parser.h"
#include "tokenizer/jinja_unicode.h"
#include "tokenizer/utf8.h"

namespace qround {

struct JinjaTemplate::Tree {
  std::shared_ptr<const jinja::Body> body;
};

JinjaTemplate::JinjaTemplate(std::string name, std::shared_ptr<const Tree> tree)
    : name_(std::move(name)), tree_(std::move(tree)) {}

JinjaTemplate JinjaTemplate::parse(std::string_view source, std::string_view name) {
  constexpr size_t kMaxSourceBytes = size_t{16} << 20;
  if (source.size() > kMaxSourceBytes) {
    throw Error("the template is too long").file(name).expected("at most 16 MiB");
  }
  if (!is_utf8(source)) throw Error("the template is not UTF-8").file(name);
  return JinjaTemplate(std::string(name),
                       std::make_shared<const Tree>(Tree{jinja::parse(source, name)}));
}

std::string JinjaTemplate::render(const Json& variables, const JinjaOptions& options) const {
  jinja::Budget budget(options.limits);
  jinja::Runtime runtime{budget, options.clock, {}};
  jinja::Interpreter interpreter(runtime);
  try {
    return interpreter.run(*tree_->body, variables);
  } catch (Error& error) {
    if (error.file().empty()) error.file(fmt::format("{}:{}", name_, interpreter.line()));
    throw;
  }
}

}  // namespace qround
