// A chat template, parsed once and rendered many times.
//
//   const JinjaTemplate greeting = JinjaTemplate::parse("Hello, {{ name }}!", "greeting.jinja");
//   greeting.render(Json::object({{"name", "Ada"}}));
//
// The language is Jinja 3.1 as transformers runs chat templates: sandboxed, trim_blocks,
// lstrip_blocks, loop controls, {% generation %}, and the functions raise_exception, namespace,
// dict, range and (with a clock) strftime_now. Left out, and refused by name: extends, include,
// import, from, block, autoescape, recursive loops and the filters pprint, random, striptags,
// urlize, wordwrap and xmlattr.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "tokenizer/jinja_limits.h"

namespace qround {

struct JinjaOptions {
  JinjaLimits limits;
  // The local time strftime_now formats; without one the function is not defined.
  std::function<std::tm()> clock;
};

class JinjaTemplate {
 public:
  // `name` stands in errors. Throws Error: its message is the reference's where that has one
  // ("Expected an expression, got 'end of statement block'"), its file() is "NAME:LINE".
  static JinjaTemplate parse(std::string_view source, std::string_view name = "template");

  // The text for these variables, an object. Strings that are not UTF-8 are repaired with U+FFFD.
  // Throws Error like parse(); what raise_exception was given is the message. Any number of threads
  // may render.
  std::string render(const Json& variables, const JinjaOptions& options = {}) const;

  const std::string& name() const { return name_; }

 private:
  struct Tree;

  JinjaTemplate(std::string name, std::shared_ptr<const Tree> tree);

  std::string name_;
  std::shared_ptr<const Tree> tree_;
};

}  // namespace qround
