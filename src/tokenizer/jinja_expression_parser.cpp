#include "tokenizer/jinja_expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tokenizer/jinja_number_text.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

struct ComparisonToken {
  TokenKind token;
  ComparisonOperator op;
};

constexpr auto kComparisons = std::to_array<ComparisonToken>({
    {TokenKind::eq, ComparisonOperator::equal},
    {TokenKind::ne, ComparisonOperator::not_equal},
    {TokenKind::lt, ComparisonOperator::less},
    {TokenKind::lteq, ComparisonOperator::less_or_equal},
    {TokenKind::gt, ComparisonOperator::greater},
    {TokenKind::gteq, ComparisonOperator::greater_or_equal},
});

}  // namespace

ExpressionParser::Level::Level(ExpressionParser& parser) : parser_(parser) {
  if (parser_.depth_ >= kMaxTreeDepth) parser_.fail_depth(parser_.tokens_.line());
  ++parser_.depth_;
}

void ExpressionParser::fail_depth(int line) const {
  tokens_.fail(fmt::format("the template nests deeper than {} levels", kMaxTreeDepth), line);
}

void ExpressionParser::note_unknown(std::string message, int line) {
  unknown_.push_back({std::move(message), line});
}

void ExpressionParser::report_unknown() const {
  if (!unknown_.empty()) tokens_.fail(unknown_.front().message, unknown_.front().line);
}

// ---- From the loosest operator to the tightest.

ExpressionPtr ExpressionParser::expression(Conditionals conditionals) {
  return conditionals == Conditionals::allowed ? conditional() : logical_or();
}

ExpressionPtr ExpressionParser::conditional() {
  const Level level(*this);
  const int line = tokens_.line();
  const size_t mark = mark_unknown();
  ExpressionPtr value = logical_or();
  while (tokens_.skip_if_name("if")) {
    ExpressionPtr condition = logical_or();
    ExpressionPtr otherwise = tokens_.skip_if_name("else") ? conditional() : nullptr;
    forget_unknown(mark);
    const int depth = std::max({depth_of(value), depth_of(condition), depth_of(otherwise)});
    value = make(line, depth,
                 Conditional{std::move(condition), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExpressionPtr ExpressionParser::logical_or() {
  const int line = tokens_.line();
  ExpressionPtr left = logical_and();
  while (tokens_.skip_if_name("or")) {
    ExpressionPtr right = logical_and();
    const int depth = std::max(depth_of(left), depth_of(right));
    left = make(line, depth, Binary{BinaryOperator::logical_or, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr ExpressionParser::logical_and() {
  const int line = tokens_.line();
  ExpressionPtr left = logical_not();
  while (tokens_.skip_if_name("and")) {
    ExpressionPtr right = logical_not();
    const int depth = std::max(depth_of(left), depth_of(right));
    left =
        make(line, depth, Binary{BinaryOperator::logical_and, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr ExpressionParser::logical_not() {
  if (!tokens_.at_name("not")) return comparison();
  const Level level(*this);
  const int line = tokens_.next().line;
  ExpressionPtr operand = logical_not();
  const int depth = depth_of(operand);
  return make(line, depth, Unary{UnaryOperator::logical_not, std::move(operand)});
}

ExpressionPtr ExpressionParser::comparison() {
  const int line = tokens_.line();
  Comparison node{sum(), {}};
  int depth = depth_of(node.first);
  const auto add = [&](ComparisonOperator op) {
    node.rest.emplace_back(op, sum());
    depth = std::max(depth, depth_of(node.rest.back().second));
  };
  while (true) {
    const auto found =
        std::find_if(kComparisons.begin(), kComparisons.end(),
                     [&](const ComparisonToken& entry) { return tokens_.at(entry.token); });
    if (found != kComparisons.end()) {
      tokens_.next();
      add(found->op);
    } else if (tokens_.skip_if_name("in")) {
      add(ComparisonOperator::in);
    } else if (tokens_.at_name("not") && tokens_.look().kind == TokenKind::name &&
               tokens_.look().text == "in") {
      tokens_.next();
      tokens_.next();
      add(ComparisonOperator::not_in);
    } else {
      break;
    }
  }
  if (node.rest.empty()) return std::move(node.first);
  return make(line, depth, std::move(node));
}

ExpressionPtr ExpressionParser::sum() {
  const int line = tokens_.line();
  ExpressionPtr left = concatenation();
  while (tokens_.at(TokenKind::add) || tokens_.at(TokenKind::sub)) {
    const BinaryOperator op =
        tokens_.next().kind == TokenKind::add ? BinaryOperator::add : BinaryOperator::subtract;
    ExpressionPtr right = concatenation();
    const int depth = std::max(depth_of(left), depth_of(right));
    left = make(line, depth, Binary{op, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  const int line = tokens_.line();
  Concatenation node;
  node.parts.push_back(product());
  while (tokens_.skip_if(TokenKind::tilde)) node.parts.push_back(product());
  if (node.parts.size() == 1) return std::move(node.parts.front());
  const int depth = depth_of(node.parts);
  return make(line, depth, std::move(node));
}

ExpressionPtr ExpressionParser::product() {
  const int line = tokens_.line();
  ExpressionPtr left = power();
  while (true) {
    BinaryOperator op = BinaryOperator::multiply;
    switch (tokens_.current().kind) {
      case TokenKind::mul:
        break;
      case TokenKind::div:
        op = BinaryOperator::divide;
        break;
      case TokenKind::floordiv:
        op = BinaryOperator::floor_divide;
        break;
      case TokenKind::mod:
        op = BinaryOperator::modulo;
        break;
      default:
        return left;
    }
    tokens_.next();
    ExpressionPtr right = power();
    const int depth = std::max(depth_of(left), depth_of(right));
    left = make(line, depth, Binary{op, std::move(left), std::move(right)});
  }
}

// Unlike Python's, Jinja's ** groups from the left and binds looser than a sign.
ExpressionPtr ExpressionParser::power() {
  const int line = tokens_.line();
  ExpressionPtr left = unary();
  while (tokens_.skip_if(TokenKind::pow)) {
    ExpressionPtr right = unary();
    const int depth = std::max(depth_of(left), depth_of(right));
    left = make(line, depth, Binary{BinaryOperator::power, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const int line = tokens_.line();
  ExpressionPtr value;
  if (tokens_.at(TokenKind::sub) || tokens_.at(TokenKind::add)) {
    const Level level(*this);
    const UnaryOperator op =
        tokens_.next().kind == TokenKind::sub ? UnaryOperator::negate : UnaryOperator::plus;
    ExpressionPtr operand = unary(false);
    const int depth = depth_of(operand);
    value = make(line, depth, Unary{op, std::move(operand)});
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

// ---- Literals and names

ExpressionPtr ExpressionParser::primary() {
  switch (tokens_.current().kind) {
    case TokenKind::name:
      return name();
    case TokenKind::string:
      return string();
    case TokenKind::integer:
    case TokenKind::real:
      return number();
    case TokenKind::lparen:
      return parenthesized();
    case TokenKind::lbracket:
      return list();
    case TokenKind::lbrace:
      return dict();
    default:
      tokens_.fail(fmt::format("unexpected {}", repr_of_text(describe(tokens_.current()))));
  }
}

ExpressionPtr ExpressionParser::name() {
  const Token& token = tokens_.next();
  const std::string& text = token.text;
  if (text == "true" || text == "True") return make(token.line, 0, Constant{Value::boolean(true)});
  if (text == "false" || text == "False") {
    return make(token.line, 0, Constant{Value::boolean(false)});
  }
  if (text == "none" || text == "None") return make(token.line, 0, Constant{Value()});
  for (MacroDefinition* macro : macros_) {
    macro->uses_caller = macro->uses_caller || text == "caller";
    macro->uses_varargs = macro->uses_varargs || text == "varargs";
    macro->uses_kwargs = macro->uses_kwargs || text == "kwargs";
  }
  return make(token.line, 0, Name{text});
}

ExpressionPtr ExpressionParser::string() {
  const int line = tokens_.line();
  std::string text;
  while (tokens_.at(TokenKind::string)) text += tokens_.next().text;
  return make(line, 0, Constant{Value::string(std::move(text))});
}

ExpressionPtr ExpressionParser::number() {
  const Token& token = tokens_.next();
  if (token.kind == TokenKind::real) {
    return make(token.line, 0, Constant{Value::real(parse_real(token.text).value_or(0))});
  }
  return make(token.line, 0, Constant{parse_integer(token.text, 0).value_or(Value::integer(0))});
}

ExpressionPtr ExpressionParser::parenthesized() {
  const Level level(*this);
  const int line = tokens_.next().line;
  if (tokens_.skip_if(TokenKind::rparen)) return make(line, 0, TupleLiteral{});
  ExpressionPtr value = tuple();
  tokens_.expect(TokenKind::rparen);
  return value;
}

ExpressionPtr ExpressionParser::list() {
  const int line = tokens_.next().line;
  ListLiteral node;
  while (!tokens_.at(TokenKind::rbracket)) {
    if (!node.items.empty()) {
      tokens_.expect(TokenKind::comma);
      if (tokens_.at(TokenKind::rbracket)) break;
    }
    node.items.push_back(expression());
  }
  tokens_.expect(TokenKind::rbracket);
  const int depth = depth_of(node.items);
  return make(line, depth, std::move(node));
}

ExpressionPtr ExpressionParser::dict() {
  const int line = tokens_.next().line;
  DictLiteral node;
  int depth = 0;
  while (!tokens_.at(TokenKind::rbrace)) {
    if (!node.members.empty()) {
      tokens_.expect(TokenKind::comma);
      if (tokens_.at(TokenKind::rbrace)) break;
    }
    ExpressionPtr key = expression();
    tokens_.expect(TokenKind::colon);
    ExpressionPtr value = expression();
    depth = std::max({depth, depth_of(key), depth_of(value)});
    node.members.emplace_back(std::move(key), std::move(value));
  }
  tokens_.expect(TokenKind::rbrace);
  return make(line, depth, std::move(node));
}

ExpressionPtr ExpressionParser::items_to_tuple(ExpressionList items, int line) {
  const int depth = depth_of(items);
  return make(line, depth, TupleLiteral{std::move(items)});
}

ExpressionPtr ExpressionParser::tuple(Conditionals conditionals) {
  const int line = tokens_.line();
  ExpressionList items;
  bool is_tuple = false;
  const auto at_end = [&] {
    return tokens_.at(TokenKind::variable_end) || tokens_.at(TokenKind::block_end) ||
           tokens_.at(TokenKind::rparen);
  };
  while (!at_end()) {
    items.push_back(expression(conditionals));
    if (!tokens_.skip_if(TokenKind::comma)) break;
    is_tuple = true;
  }
  if (is_tuple) return items_to_tuple(std::move(items), line);
  if (items.empty()) {
    tokens_.fail(
        fmt::format("Expected an expression, got {}", repr_of_text(describe(tokens_.current()))));
  }
  return std::move(items.front());
}

}  // namespace qround::jinja
