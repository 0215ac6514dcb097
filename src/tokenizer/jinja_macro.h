// A macro at run time: its definition and the names visible where it was defined.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tokenizer/jinja_value.h"

namespace qround::jinja {

struct MacroDefinition;

// The variables of a block, inside those of the block around it. Names point into the template.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::unordered_map<std::string_view, Value> variables;
  bool captured = false;  // by a macro; such scopes may hold themselves and are cleared at the end

  const Value* find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
      const auto found = scope->variables.find(name);
      if (found != scope->variables.end()) return &found->second;
    }
    return nullptr;
  }
};

struct Macro {
  const MacroDefinition* definition;  // part of the template, which outlives the rendering
  std::shared_ptr<Scope> scope;
};

std::string describe(const Macro& macro);
// nullopt when macros have no such attribute.
std::optional<Value> macro_attribute(const Macro& macro, std::string_view name);

}  // namespace qround::jinja
