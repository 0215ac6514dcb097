#include "tokenizer/jinja_interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "tokenizer/jinja_globals.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_json.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

// Lets go of a loop's elements however the statement is left.
class LoopEnd {
 public:
  explicit LoopEnd(Loop& loop) : loop_(loop) {}
  ~LoopEnd() { loop_.close(); }
  LoopEnd(const LoopEnd&) = delete;
  LoopEnd& operator=(const LoopEnd&) = delete;

 private:
  Loop& loop_;
};

}  // namespace

// Scopes and namespaces may hold each other in circles; cut them.
Interpreter::~Interpreter() {
  for (const ScopePtr& scope : captured_scopes_) scope->variables.clear();
  for (const auto& space : runtime_.namespaces) space->attributes = Dict();
}

std::string Interpreter::run(const Body& body, const Json& variables) {
  for (const auto& [name, value] : variables.as_object()) {
    context_.insert_or_assign(name, from_json(value));
  }
  TextBuilder out(budget_);
  root_out_ = &out;
  const OutputChange to_root(*this, out);
  const ScopeChange at_top(*this, std::make_shared<Scope>());
  execute(body);
  return out.take();
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  for (const Statement& statement : body) {
    const Flow flow = execute(statement);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::execute_in(ScopePtr scope, const Body& body) {
  const ScopeChange inside(*this, std::move(scope));
  return execute(body);
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  const Budget::Level level(budget_);
  budget_.step();
  line_ = statement.line;
  return std::visit([this](const auto& node) { return run(node); }, statement.node);
}

Interpreter::ScopePtr Interpreter::inner_scope() const {
  auto scope = std::make_shared<Scope>();
  scope->parent = scope_;
  return scope;
}

void Interpreter::write(std::string_view text) {
  out_->append(text);
  const size_t limit = budget_.limits().max_output_bytes;
  if (out_ == root_out_ && out_->size() > limit) {
    throw Error(fmt::format("the template's output is longer than {} bytes", limit));
  }
}

void Interpreter::write(const Value& value) {
  if (value.is_string()) {
    write(value.bytes());
  } else {
    write(to_str(budget_, value));
  }
}

Interpreter::Flow Interpreter::run(const Text& text) {
  write(text.text);
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const Output& output) {
  for (const ExpressionPtr& expression : output.expressions) write(evaluate(*expression));
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const If& statement) {
  for (const If::Branch& branch : statement.branches) {
    if (evaluate(*branch.condition).truthy()) return execute(*branch.body);
  }
  return statement.otherwise == nullptr ? Flow::next : execute(*statement.otherwise);
}

Interpreter::Flow Interpreter::run(const For& statement) {
  const auto loop = make_loop(statement);
  const LoopEnd end(*loop);
  auto loop_scope = inner_scope();
  loop_scope->variables["loop"] = Value::loop(loop);
  ScopePtr iteration;
  bool completed = false;  // an iteration that was left early does not keep `else` from running
  while (const auto item = loop->advance()) {
    budget_.step();
    // Every iteration starts without the last one's variables.
    if (iteration != nullptr && iteration.use_count() == 1) {
      iteration->variables.clear();
    } else {
      iteration = std::make_shared<Scope>();
      iteration->parent = loop_scope;
    }
    const ScopeChange inside(*this, iteration);
    assign(statement.target, *item);
    const Flow flow = execute(*statement.body);
    if (flow == Flow::break_loop) break;
    completed = completed || flow == Flow::next;
  }
  if (!completed && statement.otherwise != nullptr) {
    return execute_in(inner_scope(), *statement.otherwise);
  }
  return Flow::next;
}

std::shared_ptr<Loop> Interpreter::make_loop(const For& statement) {
  const Value iterable = evaluate(*statement.iterable);
  Next next = iterate(budget_, iterable);
  if (statement.condition == nullptr) {
    return std::make_shared<Loop>(iterable, std::move(next), length(iterable));
  }
  // The condition is evaluated when the element is needed, in the scope around the loop.
  auto filtered = [this, &statement, scope = scope_, next = std::move(next)]() {
    std::optional<Value> item = next();
    while (item && !passes(statement, scope, *item)) item = next();
    return item;
  };
  return std::make_shared<Loop>(iterable, std::move(filtered), std::nullopt);
}

bool Interpreter::passes(const For& statement, const ScopePtr& scope, const Value& item) {
  const Budget::Level level(budget_);
  auto test_scope = std::make_shared<Scope>();
  test_scope->parent = scope;
  const ScopeChange inside(*this, std::move(test_scope));
  assign(statement.target, item);
  return evaluate(*statement.condition).truthy();
}

Interpreter::Flow Interpreter::run(const Set& statement) {
  assign(statement.target, evaluate(*statement.value));
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const SetBlock& statement) {
  TextBuilder text(budget_);
  {
    const OutputChange captured(*this, text);
    const Flow flow = execute_in(inner_scope(), *statement.body);
    if (flow != Flow::next) return flow;
  }
  assign(statement.target, filter_text(statement.filter, Value::string(text.take())));
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const With& statement) {
  auto scope = inner_scope();
  for (const auto& [target, expression] : statement.variables) {
    const Value value = evaluate(*expression);  // outside: they do not see each other
    const ScopeChange inside(*this, scope);
    assign(target, value);
  }
  return execute_in(std::move(scope), *statement.body);
}

Interpreter::Flow Interpreter::run(const FilterBlock& statement) {
  TextBuilder text(budget_);
  {
    const OutputChange captured(*this, text);
    const Flow flow = execute_in(inner_scope(), *statement.body);
    if (flow != Flow::next) return flow;
  }
  write(filter_text(statement.filter, Value::string(text.take())));
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const ScopeBlock& statement) {
  return execute_in(inner_scope(), *statement.body);
}

Interpreter::Flow Interpreter::run(const MacroStatement& statement) {
  scope_->variables[statement.definition->name] = make_macro(statement.definition);
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const CallBlock& statement) {
  const int line = line_;
  const Call& call_node = std::get<Call>(statement.call->node);
  const Value callee = evaluate(*call_node.callee);
  Arguments arguments = evaluate_arguments(call_node.arguments);
  arguments.named.emplace_back("caller", make_macro(statement.caller));
  line_ = line;
  write(call(callee, std::move(arguments)));
  return Flow::next;
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    unpack(target, value);
  } else if (!target.attribute.empty()) {
    assign_attribute(target, value);
  } else {
    scope_->variables[target.name] = value;
  }
}

void Interpreter::assign_attribute(const Target& target, const Value& value) {
  const Value object = look_up(target.name);
  if (object.type() != Type::name_space) {
    throw Error("cannot assign attribute on non-namespace object");
  }
  set_attribute(runtime_, object.as_name_space(), target.attribute, value);
}

void Interpreter::unpack(const Target& target, const Value& value) {
  if (!is_iterable(value)) {
    throw Error(fmt::format("cannot unpack non-iterable {} object", value.type_name()));
  }
  const size_t expected = target.items.size();
  const Next next = iterate(budget_, value);
  Value::Items parts;
  while (const auto part = next()) {
    if (parts.size() == expected) {
      throw Error(fmt::format("too many values to unpack (expected {})", expected));
    }
    parts.push_back(*part);
  }
  if (parts.size() < expected) {
    throw Error(
        fmt::format("not enough values to unpack (expected {}, got {})", expected, parts.size()));
  }
  for (size_t i = 0; i < expected; ++i) assign(target.items[i], parts[i]);
}

}  // namespace qround::jinja
