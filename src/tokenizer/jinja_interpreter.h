// Runs a template's tree. One interpreter renders once; statements are in jinja_interpreter.cpp,
// expressions in jinja_evaluation.cpp, macros and calls in jinja_calls.cpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_function.h"
#include "tokenizer/jinja_macro.h"

namespace qround::jinja {

class Interpreter {
 public:
  explicit Interpreter(Runtime& runtime) : runtime_(runtime), budget_(runtime.budget) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // `variables` is an object. Throws Error without a file; line() tells where.
  std::string run(const Body& body, const Json& variables);
  int line() const { return line_; }

 private:
  enum class Flow { next, break_loop, continue_loop };
  using ScopePtr = std::shared_ptr<Scope>;

  class ScopeChange;
  class OutputChange;

  // ---- Statements
  Flow execute(const Body& body);
  Flow execute_in(ScopePtr scope, const Body& body);
  Flow execute(const Statement& statement);
  Flow run(const Text& text);
  Flow run(const Output& output);
  Flow run(const For& statement);
  Flow run(const If& statement);
  Flow run(const Set& statement);
  Flow run(const SetBlock& statement);
  Flow run(const With& statement);
  Flow run(const MacroStatement& statement);
  Flow run(const CallBlock& statement);
  Flow run(const FilterBlock& statement);
  Flow run(const ScopeBlock& statement);
  Flow run(const Break&) { return Flow::break_loop; }
  Flow run(const Continue&) { return Flow::continue_loop; }

  std::shared_ptr<Loop> make_loop(const For& statement);
  bool passes(const For& statement, const ScopePtr& scope, const Value& item);
  void assign(const Target& target, const Value& value);
  void assign_attribute(const Target& target, const Value& value);
  void unpack(const Target& target, const Value& value);
  void write(std::string_view text);
  void write(const Value& value);
  ScopePtr inner_scope() const;

  // ---- Expressions
  Value evaluate(const Expression& expression);
  Value evaluate(const Constant& node, int line);
  Value evaluate(const Name& node, int line);
  Value evaluate(const TupleLiteral& node, int line);
  Value evaluate(const ListLiteral& node, int line);
  Value evaluate(const DictLiteral& node, int line);
  Value evaluate(const Unary& node, int line);
  Value evaluate(const Binary& node, int line);
  Value evaluate(const Comparison& node, int line);
  Value evaluate(const Concatenation& node, int line);
  Value evaluate(const Conditional& node, int line);
  Value evaluate(const Attribute& node, int line);
  Value evaluate(const Subscript& node, int line);
  Value evaluate(const SliceExpression& node, int line);
  Value evaluate(const Call& node, int line);
  Value evaluate(const FilterCall& node, int line);
  Value evaluate(const TestCall& node, int line);

  Value look_up(std::string_view name);
  Value::Items evaluate_all(const ExpressionList& list);
  Value evaluate_or_none(const ExpressionPtr& expression);
  bool compare(ComparisonOperator op, const Value& left, const Value& right);
  Value filter_text(const ExpressionPtr& filter, const Value& text);

  // ---- Calls
  Arguments evaluate_arguments(const ArgumentList& list);
  Value call(const Value& callee, Arguments arguments);
  Value call_macro(const Macro& macro, Arguments arguments);
  void bind(const MacroDefinition& macro, Arguments& arguments);
  void bind_defaults(const MacroDefinition& macro, size_t n_given, Arguments& arguments);
  void bind_special(const MacroDefinition& macro, Arguments& arguments);
  Value make_macro(std::shared_ptr<const MacroDefinition> definition);

  Runtime& runtime_;
  Budget& budget_;
  std::unordered_map<std::string, Value> context_;
  ScopePtr scope_;
  std::vector<ScopePtr> captured_scopes_;
  TextBuilder* out_ = nullptr;
  const TextBuilder* root_out_ = nullptr;
  const Value* block_text_ = nullptr;  // what a filter without an input works on
  int line_ = 1;
};

// The variables of a block for the lifetime of the object.
class Interpreter::ScopeChange {
 public:
  ScopeChange(Interpreter& interpreter, ScopePtr scope)
      : interpreter_(interpreter), outer_(std::exchange(interpreter.scope_, std::move(scope))) {}
  ~ScopeChange() { interpreter_.scope_ = std::move(outer_); }
  ScopeChange(const ScopeChange&) = delete;
  ScopeChange& operator=(const ScopeChange&) = delete;

 private:
  Interpreter& interpreter_;
  ScopePtr outer_;
};

// Where text is written for the lifetime of the object.
class Interpreter::OutputChange {
 public:
  OutputChange(Interpreter& interpreter, TextBuilder& out)
      : interpreter_(interpreter), outer_(std::exchange(interpreter.out_, &out)) {}
  ~OutputChange() { interpreter_.out_ = outer_; }
  OutputChange(const OutputChange&) = delete;
  OutputChange& operator=(const OutputChange&) = delete;

 private:
  Interpreter& interpreter_;
  TextBuilder* outer_;
};

}  // namespace qround::jinja
