// What stands left of an assignment.
#include <fmt/format.h>

#include "tokenizer/jinja_expression_parser.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

// What the reference calls a node in "can't assign to ...".
struct NodeName {
  std::string_view operator()(const Constant&) const { return "const"; }
  std::string_view operator()(const Name&) const { return "name"; }
  std::string_view operator()(const TupleLiteral&) const { return "tuple"; }
  std::string_view operator()(const ListLiteral&) const { return "list"; }
  std::string_view operator()(const DictLiteral&) const { return "dict"; }
  std::string_view operator()(const Comparison&) const { return "compare"; }
  std::string_view operator()(const Concatenation&) const { return "concat"; }
  std::string_view operator()(const Conditional&) const { return "condexpr"; }
  std::string_view operator()(const Attribute&) const { return "getattr"; }
  std::string_view operator()(const Subscript&) const { return "getitem"; }
  std::string_view operator()(const SliceExpression&) const { return "getitem"; }
  std::string_view operator()(const Call&) const { return "call"; }
  std::string_view operator()(const FilterCall&) const { return "filter"; }
  std::string_view operator()(const TestCall&) const { return "test"; }
  std::string_view operator()(const Unary&) const { return "unary expression"; }
  std::string_view operator()(const Binary&) const { return "binary expression"; }
};

}  // namespace

Target ExpressionParser::name_target() {
  const Token& token = tokens_.expect(TokenKind::name);
  for (std::string_view constant : {"true", "True", "false", "False", "none", "None"}) {
    if (token.text == constant) tokens_.fail("can't assign to 'name'", token.line);
  }
  return Target{token.line, token.text, {}, {}, false};
}

Target ExpressionParser::target(std::string_view end, bool with_attributes) {
  Target tuple{tokens_.line(), {}, {}, {}, true};
  bool has_comma = false;
  const auto at_end = [&] {
    return tokens_.at(TokenKind::variable_end) || tokens_.at(TokenKind::block_end) ||
           tokens_.at(TokenKind::rparen) || (!end.empty() && tokens_.at_name(end));
  };
  while (!at_end()) {
    tuple.items.push_back(target_item(with_attributes));
    if (!tokens_.skip_if(TokenKind::comma)) break;
    has_comma = true;
  }
  if (has_comma) return tuple;
  if (tuple.items.empty()) {
    tokens_.fail(
        fmt::format("Expected an expression, got {}", repr_of_text(describe(tokens_.current()))));
  }
  return std::move(tuple.items.front());
}

Target ExpressionParser::target_item(bool with_attributes) {
  if (with_attributes && tokens_.at(TokenKind::name) && tokens_.look().kind == TokenKind::dot) {
    const Token& object = tokens_.next();
    tokens_.next();
    return Target{object.line, object.text, tokens_.expect(TokenKind::name).text, {}, false};
  }
  return to_target(*primary());
}

Target ExpressionParser::to_target(const Expression& expression) {
  if (const auto* name = std::get_if<Name>(&expression.node)) {
    return Target{expression.line, name->name, {}, {}, false};
  }
  if (const auto* tuple = std::get_if<TupleLiteral>(&expression.node)) {
    Target target{expression.line, {}, {}, {}, true};
    for (const ExpressionPtr& item : tuple->items) target.items.push_back(to_target(*item));
    return target;
  }
  tokens_.fail(fmt::format("can't assign to '{}'", std::visit(NodeName(), expression.node)),
               expression.line);
}

}  // namespace qround::jinja
