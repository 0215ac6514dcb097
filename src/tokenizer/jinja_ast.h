// A parsed template. Every node knows its line; nesting is bounded by the parser (kMaxTreeDepth),
// so recursive code over the tree, its destruction included, cannot exhaust the stack.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja_compare.h"
#include "tokenizer/jinja_function.h"
#include "tokenizer/jinja_tests.h"
#include "tokenizer/jinja_value.h"

namespace qround::jinja {

constexpr int kMaxTreeDepth = 250;

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;
using ExpressionList = std::vector<ExpressionPtr>;

// ---- Expressions

struct Constant {
  Value value;
};

struct Name {
  std::string name;
};

struct TupleLiteral {
  ExpressionList items;
};

struct ListLiteral {
  ExpressionList items;
};

struct DictLiteral {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> members;
};

enum class UnaryOperator { negate, plus, logical_not };

struct Unary {
  UnaryOperator op;
  ExpressionPtr operand;
};

enum class BinaryOperator {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  logical_and,
  logical_or,
};

struct Binary {
  BinaryOperator op;
  ExpressionPtr left, right;
};

enum class ComparisonOperator {
  equal,
  not_equal,
  less,
  less_or_equal,
  greater,
  greater_or_equal,
  in,
  not_in,
};

// first op operand op operand ...: each operand is evaluated once, until a comparison fails.
struct Comparison {
  ExpressionPtr first;
  std::vector<std::pair<ComparisonOperator, ExpressionPtr>> rest;
};

struct Concatenation {
  ExpressionList parts;
};

struct Conditional {
  ExpressionPtr condition, then, otherwise;  // `otherwise` may be null
};

struct Attribute {
  ExpressionPtr object;
  std::string name;
};

struct Subscript {
  ExpressionPtr object, key;
};

struct SliceExpression {
  ExpressionPtr object;
  ExpressionPtr start, stop, step;  // each may be null
};

struct ArgumentList {
  ExpressionList positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr unpacked_positional, unpacked_named;  // *args, **kwargs; may be null
};

struct Call {
  ExpressionPtr callee;
  ArgumentList arguments;
};

struct FilterCall {
  ExpressionPtr input;  // null in a filter block: the block's text
  std::string name;
  Native filter;  // null: unknown, an error only when it is reached
  ArgumentList arguments;
};

struct TestCall {
  ExpressionPtr value;
  std::string name;
  TestFunction test;  // null: unknown, an error only when it is reached
  ArgumentList arguments;
};

struct Expression {
  int line;
  int depth;  // 1 + the deepest child's
  std::variant<Constant, Name, TupleLiteral, ListLiteral, DictLiteral, Unary, Binary, Comparison,
               Concatenation, Conditional, Attribute, Subscript, SliceExpression, Call, FilterCall,
               TestCall>
      node;
};

// The depth of the deepest, 0 for none.
int depth_of(const ExpressionPtr& expression);
int depth_of(const ExpressionList& list);
int depth_of(const ArgumentList& arguments);

// ---- Statements

struct Statement;
using Body = std::vector<Statement>;

// What an assignment stores to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  int line;
  std::string name;
  std::string attribute;      // empty: the name itself
  std::vector<Target> items;  // not empty: a tuple
  bool is_tuple = false;
};

struct Text {
  std::string text;
};

struct Output {
  ExpressionList expressions;
};

struct For {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr condition;  // may be null
  std::shared_ptr<const Body> body, otherwise;
};

struct If {
  struct Branch {
    ExpressionPtr condition;
    std::shared_ptr<const Body> body;
  };
  std::vector<Branch> branches;
  std::shared_ptr<const Body> otherwise;
};

struct Set {
  Target target;
  ExpressionPtr value;
};

struct SetBlock {
  Target target;
  ExpressionPtr filter;  // a chain of FilterCall whose innermost input is null; may be null
  std::shared_ptr<const Body> body;
};

struct With {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  std::shared_ptr<const Body> body;
};

struct MacroDefinition {
  std::string name;  // "caller" for the body of a call block
  std::vector<std::string> parameters;
  ExpressionList defaults;  // of the last parameters
  std::shared_ptr<const Body> body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

struct MacroStatement {
  std::shared_ptr<const MacroDefinition> definition;
};

struct CallBlock {
  ExpressionPtr call;  // holds a Call
  std::shared_ptr<const MacroDefinition> caller;
};

struct FilterBlock {
  ExpressionPtr filter;
  std::shared_ptr<const Body> body;
};

// A block with its own variables and nothing else: {% generation %}.
struct ScopeBlock {
  std::shared_ptr<const Body> body;
};

struct Break {};
struct Continue {};

struct Statement {
  int line;
  std::variant<Text, Output, For, If, Set, SetBlock, With, MacroStatement, CallBlock, FilterBlock,
               ScopeBlock, Break, Continue>
      node;
};

}  // namespace qround::jinja
