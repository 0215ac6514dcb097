#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

// Takes the argument of this name out; nullopt when it was not given.
std::optional<Value> take_named(Arguments& arguments, std::string_view name) {
  const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                  [&](const auto& argument) { return argument.first == name; });
  if (found == arguments.named.end()) return std::nullopt;
  Value value = std::move(found->second);
  arguments.named.erase(found);
  return value;
}

bool has_parameter(const MacroDefinition& macro, std::string_view name) {
  return std::find(macro.parameters.begin(), macro.parameters.end(), name) !=
         macro.parameters.end();
}

}  // namespace

std::string describe(const Macro& macro) {
  return fmt::format("<Macro {}>", repr_of_text(macro.definition->name));
}

std::optional<Value> macro_attribute(const Macro& macro, std::string_view name) {
  const MacroDefinition& definition = *macro.definition;
  if (name == "name") return Value::string(definition.name);
  if (name == "caller") return Value::boolean(definition.uses_caller);
  if (name == "catch_kwargs") return Value::boolean(definition.uses_kwargs);
  if (name == "catch_varargs") return Value::boolean(definition.uses_varargs);
  if (name == "arguments") {
    Value::Items names;
    for (const std::string& parameter : definition.parameters) {
      names.push_back(Value::string(parameter));
    }
    return Value::tuple(std::move(names));
  }
  return std::nullopt;
}

Arguments Interpreter::evaluate_arguments(const ArgumentList& list) {
  Arguments arguments;
  if (!list.positional.empty()) arguments.positional = evaluate_all(list.positional);
  for (const auto& [name, expression] : list.named) {
    arguments.named.emplace_back(name, evaluate(*expression));
  }
  if (list.unpacked_positional != nullptr) {
    for (Value& item : to_items(budget_, evaluate(*list.unpacked_positional))) {
      arguments.positional.push_back(std::move(item));
    }
  }
  if (list.unpacked_named != nullptr) {
    const Value named = evaluate(*list.unpacked_named);
    if (named.is_undefined()) throw Error(named.as_undefined().message());
    if (!named.is_dict()) {
      throw Error(fmt::format("argument after ** must be a mapping, not {}", named.type_name()));
    }
    for (const auto& [key, value] : named.as_dict().members) {
      if (!key.is_string()) throw Error("keywords must be strings");
      budget_.produce(key.bytes().size() + sizeof(Value));
      arguments.named.emplace_back(key.bytes(), value);
    }
  }
  return arguments;
}

Value Interpreter::call(const Value& callee, Arguments arguments) {
  switch (callee.type()) {
    case Type::function: {
      const Function& function = callee.as_function();
      return function.native(runtime_, function.self, arguments);
    }
    case Type::macro:
      return call_macro(callee.as_macro(), std::move(arguments));
    case Type::undefined:
      throw Error(callee.as_undefined().message());
    case Type::loop:
      throw Error("The loop must have the 'recursive' marker to be called recursively.");
    default:
      throw Error(fmt::format("'{}' object is not callable", callee.type_name()));
  }
}

Value Interpreter::make_macro(std::shared_ptr<const MacroDefinition> definition) {
  // The macro and the scope that holds it keep each other alive.
  if (!scope_->captured) {
    scope_->captured = true;
    budget_.produce(sizeof(Scope));
    captured_scopes_.push_back(scope_);
  }
  return Value::macro(std::make_shared<const Macro>(Macro{definition.get(), scope_}));
}

Value Interpreter::call_macro(const Macro& macro, Arguments arguments) {
  const Budget::Level level(budget_);
  auto scope = std::make_shared<Scope>();
  scope->parent = macro.scope;
  const ScopeChange inside(*this, std::move(scope));
  TextBuilder text(budget_);
  const OutputChange captured(*this, text);
  bind(*macro.definition, arguments);
  execute(*macro.definition->body);
  return Value::string(text.take());
}

// Stores the arguments of a call in the macro's own scope, which is the current one.
void Interpreter::bind(const MacroDefinition& macro, Arguments& arguments) {
  const size_t n_given = std::min(arguments.positional.size(), macro.parameters.size());
  for (size_t i = 0; i < n_given; ++i) {
    scope_->variables[macro.parameters[i]] = arguments.positional[i];
  }
  bind_defaults(macro, n_given, arguments);
  arguments.positional.erase(arguments.positional.begin(),
                             arguments.positional.begin() + static_cast<std::ptrdiff_t>(n_given));
  bind_special(macro, arguments);
}

void Interpreter::bind_defaults(const MacroDefinition& macro, size_t n_given,
                                Arguments& arguments) {
  std::vector<size_t> missing;
  for (size_t i = n_given; i < macro.parameters.size(); ++i) {
    const std::string& name = macro.parameters[i];
    auto value = take_named(arguments, name);
    if (!value) missing.push_back(i);
    scope_->variables[name] = value ? *value : Value::undefined_variable(name);
  }
  const size_t first_default = macro.parameters.size() - macro.defaults.size();
  for (size_t i : missing) {
    const std::string& name = macro.parameters[i];
    scope_->variables[name] =
        i >= first_default
            ? evaluate(*macro.defaults[i - first_default])
            : Value::undefined_because(fmt::format("parameter '{}' was not provided", name));
  }
}

// caller, kwargs and varargs, which a macro has when its body names them.
void Interpreter::bind_special(const MacroDefinition& macro, Arguments& arguments) {
  if (macro.uses_caller && !has_parameter(macro, "caller")) {
    auto caller = take_named(arguments, "caller");
    scope_->variables["caller"] = caller ? *caller : Value::undefined_because("No caller defined");
  }
  if (macro.uses_kwargs && !has_parameter(macro, "kwargs")) {
    Dict named;
    for (auto& [name, value] : arguments.named) named.set(name, std::move(value));
    scope_->variables["kwargs"] = Value::dict(std::move(named));
  } else if (!arguments.named.empty()) {
    const std::string& name = arguments.named.front().first;
    throw Error(name == "caller"
                    ? fmt::format("macro {} was invoked with two values for the special caller "
                                  "argument. This is most likely a bug.",
                                  repr_of_text(macro.name))
                    : fmt::format("macro {} takes no keyword argument {}", repr_of_text(macro.name),
                                  repr_of_text(name)));
  }
  if (macro.uses_varargs && !has_parameter(macro, "varargs")) {
    scope_->variables["varargs"] = Value::tuple(arguments.positional);
  } else if (!arguments.positional.empty()) {
    throw Error(fmt::format("macro {} takes not more than {} argument(s)", repr_of_text(macro.name),
                            macro.parameters.size()));
  }
}

}  // namespace qround::jinja
