#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/jinja_arithmetic.h"
#include "tokenizer/jinja_attributes.h"
#include "tokenizer/jinja_globals.h"
#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/jinja_iteration.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {

Value Interpreter::evaluate(const Expression& expression) {
  const Budget::Level level(budget_);
  budget_.step();
  line_ = expression.line;
  return std::visit([&](const auto& node) { return evaluate(node, expression.line); },
                    expression.node);
}

Value Interpreter::look_up(std::string_view name) {
  if (const Value* variable = scope_->find(name)) return *variable;
  if (const auto found = context_.find(std::string(name)); found != context_.end()) {
    return found->second;
  }
  if (auto global = find_global(runtime_, name)) return *global;
  return Value::undefined_variable(name);
}

Value::Items Interpreter::evaluate_all(const ExpressionList& list) {
  budget_.produce(list.size(), sizeof(Value));
  Value::Items values;
  values.reserve(list.size());
  for (const ExpressionPtr& expression : list) values.push_back(evaluate(*expression));
  return values;
}

Value Interpreter::evaluate_or_none(const ExpressionPtr& expression) {
  return expression == nullptr ? Value() : evaluate(*expression);
}

Value Interpreter::evaluate(const Constant& node, int) { return node.value; }

Value Interpreter::evaluate(const Name& node, int) { return look_up(node.name); }

Value Interpreter::evaluate(const TupleLiteral& node, int) {
  return Value::tuple(evaluate_all(node.items));
}

Value Interpreter::evaluate(const ListLiteral& node, int) {
  return Value::list(evaluate_all(node.items));
}

Value Interpreter::evaluate(const DictLiteral& node, int line) {
  Dict dict;
  for (const auto& [key_node, value_node] : node.members) {
    Value key = evaluate(*key_node);
    Value value = evaluate(*value_node);
    budget_.produce(sizeof(Dict::Member));
    line_ = line;
    dict.set(std::move(key), std::move(value));
  }
  return Value::dict(std::move(dict));
}

Value Interpreter::evaluate(const Unary& node, int line) {
  const Value operand = evaluate(*node.operand);
  line_ = line;
  switch (node.op) {
    case UnaryOperator::negate:
      return negate(budget_, operand);
    case UnaryOperator::plus:
      return plus(operand);
    case UnaryOperator::logical_not:
      return Value::boolean(!operand.truthy());
  }
  return operand;
}

Value Interpreter::evaluate(const Binary& node, int line) {
  Value left = evaluate(*node.left);
  if (node.op == BinaryOperator::logical_and && !left.truthy()) return left;
  if (node.op == BinaryOperator::logical_or && left.truthy()) return left;
  Value right = evaluate(*node.right);
  line_ = line;
  switch (node.op) {
    case BinaryOperator::add:
      return add(budget_, left, right);
    case BinaryOperator::subtract:
      return subtract(budget_, left, right);
    case BinaryOperator::multiply:
      return multiply(budget_, left, right);
    case BinaryOperator::divide:
      return divide(left, right);
    case BinaryOperator::floor_divide:
      return floor_divide(budget_, left, right);
    case BinaryOperator::modulo:
      return modulo(budget_, left, right);
    case BinaryOperator::power:
      return jinja::power(budget_, left, right);
    case BinaryOperator::logical_and:
    case BinaryOperator::logical_or:
      return right;
  }
  return right;
}

bool Interpreter::compare(ComparisonOperator op, const Value& left, const Value& right) {
  switch (op) {
    case ComparisonOperator::equal:
      return equal(budget_, left, right);
    case ComparisonOperator::not_equal:
      return !equal(budget_, left, right);
    case ComparisonOperator::less:
      return ordered(budget_, Ordering::less, left, right);
    case ComparisonOperator::less_or_equal:
      return ordered(budget_, Ordering::less_or_equal, left, right);
    case ComparisonOperator::greater:
      return ordered(budget_, Ordering::greater, left, right);
    case ComparisonOperator::greater_or_equal:
      return ordered(budget_, Ordering::greater_or_equal, left, right);
    case ComparisonOperator::in:
      return contains(budget_, right, left);
    case ComparisonOperator::not_in:
      return !contains(budget_, right, left);
  }
  return false;
}

Value Interpreter::evaluate(const Comparison& node, int line) {
  Value left = evaluate(*node.first);
  for (const auto& [op, operand] : node.rest) {
    Value right = evaluate(*operand);
    line_ = line;
    if (!compare(op, left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate(const Concatenation& node, int) {
  TextBuilder text(budget_);
  for (const ExpressionPtr& part : node.parts) append_str(text, evaluate(*part));
  return Value::string(text.take());
}

Value Interpreter::evaluate(const Conditional& node, int line) {
  if (evaluate(*node.condition).truthy()) return evaluate(*node.then);
  if (node.otherwise != nullptr) return evaluate(*node.otherwise);
  return Value::undefined_because(
      fmt::format("the inline if-expression on line {} evaluated to false and no else section was "
                  "defined.",
                  line));
}

Value Interpreter::evaluate(const Attribute& node, int line) {
  const Value object = evaluate(*node.object);
  line_ = line;
  return get_attribute(runtime_, object, node.name);
}

Value Interpreter::evaluate(const Subscript& node, int line) {
  const Value object = evaluate(*node.object);
  const Value key = evaluate(*node.key);
  line_ = line;
  return get_element(runtime_, object, key);
}

Value Interpreter::evaluate(const SliceExpression& node, int line) {
  const Value object = evaluate(*node.object);
  const Slice bounds{evaluate_or_none(node.start), evaluate_or_none(node.stop),
                     evaluate_or_none(node.step)};
  line_ = line;
  return slice(budget_, object, bounds);
}

Value Interpreter::evaluate(const Call& node, int line) {
  const Value callee = evaluate(*node.callee);
  Arguments arguments = evaluate_arguments(node.arguments);
  line_ = line;
  return call(callee, std::move(arguments));
}

Value Interpreter::evaluate(const FilterCall& node, int line) {
  const Value input = node.input == nullptr ? *block_text_ : evaluate(*node.input);
  const Arguments arguments = evaluate_arguments(node.arguments);
  line_ = line;
  if (node.filter == nullptr) {
    throw Error(fmt::format("No filter named {} found.", repr_of_text(node.name)));
  }
  return node.filter(runtime_, input, arguments);
}

Value Interpreter::filter_text(const ExpressionPtr& filter, const Value& text) {
  if (filter == nullptr) return text;
  const Value* outer = std::exchange(block_text_, &text);
  Value filtered = evaluate(*filter);
  block_text_ = outer;
  return filtered;
}

Value Interpreter::evaluate(const TestCall& node, int line) {
  const Value value = evaluate(*node.value);
  const Arguments arguments = evaluate_arguments(node.arguments);
  line_ = line;
  if (node.test == nullptr) {
    throw Error(fmt::format("No test named {} found.", repr_of_text(node.name)));
  }
  return Value::boolean(node.test(runtime_, value, arguments));
}

}  // namespace qround::jinja
