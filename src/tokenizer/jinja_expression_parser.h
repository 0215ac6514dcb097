// Tokens to expressions. Operators and literals are in jinja_expression_parser.cpp, what follows a
// value in jinja_postfix_parser.cpp, assignment targets in jinja_target_parser.cpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_token_stream.h"

namespace qround::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  // Jinja's grammar has places where `a if b else c` is not allowed, since `if` means something
  // else there.
  enum class Conditionals { allowed, excluded };

  ExpressionPtr expression(Conditionals conditionals = Conditionals::allowed);
  // Expressions separated by commas; a single one without a comma is that expression itself.
  ExpressionPtr tuple(Conditionals conditionals = Conditionals::allowed);
  // `end` is the name that ends the target, empty for none ("in" in a for statement).
  Target target(std::string_view end, bool with_attributes);
  Target name_target();
  // | name(arguments) | ..., on `input`, which is null for the text of a block.
  ExpressionPtr filters(ExpressionPtr input);
  // The same where the first filter has no bar in front: {% filter upper | trim %}.
  ExpressionPtr inline_filters();

  // Nesting of statements and expressions in each other, bounded by kMaxTreeDepth.
  class Level {
   public:
    explicit Level(ExpressionParser& parser);
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };

  // A macro whose body is being read; learns whether it uses caller, varargs and kwargs.
  void enter_macro(MacroDefinition* macro) { macros_.push_back(macro); }
  void leave_macro() { macros_.pop_back(); }

  // Unknown filters and tests met so far. In a branch that may never run they are errors only when
  // reached: forget_unknown drops those met after `mark`. report_unknown throws the first that is
  // left.
  size_t mark_unknown() const { return unknown_.size(); }
  void forget_unknown(size_t mark) { unknown_.resize(mark); }
  void report_unknown() const;

 private:
  ExpressionPtr conditional();
  ExpressionPtr logical_or();
  ExpressionPtr logical_and();
  ExpressionPtr logical_not();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters = true);
  ExpressionPtr primary();
  ExpressionPtr parenthesized();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr name();
  ExpressionPtr number();
  ExpressionPtr string();
  ExpressionPtr postfix(ExpressionPtr object);
  ExpressionPtr filters_and_tests(ExpressionPtr value);
  ExpressionPtr attribute(ExpressionPtr object);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr call(ExpressionPtr callee);
  ExpressionPtr filter(ExpressionPtr input);
  ExpressionPtr test(ExpressionPtr value);
  ArgumentList arguments();
  void argument(ArgumentList& list, int line);
  ExpressionList test_arguments();
  std::string dotted_name();
  Target target_item(bool with_attributes);
  Target to_target(const Expression& expression);
  ExpressionPtr items_to_tuple(ExpressionList items, int line);

  template <typename Node>
  ExpressionPtr make(int line, int depth_of_children, Node node) {
    if (depth_of_children >= kMaxTreeDepth) fail_depth(line);
    return std::make_unique<Expression>(Expression{line, depth_of_children + 1, std::move(node)});
  }

  [[noreturn]] void fail_depth(int line) const;
  void note_unknown(std::string message, int line);

  struct Unknown {
    std::string message;
    int line;
  };

  TokenStream& tokens_;
  std::vector<MacroDefinition*> macros_;
  std::vector<Unknown> unknown_;
  int depth_ = 0;
};

}  // namespace qround::jinja
