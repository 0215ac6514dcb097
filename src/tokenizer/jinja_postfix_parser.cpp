// What follows a value: attributes, subscripts, calls, filters and tests.
#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/jinja_expression_parser.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_number_text.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  while (true) {
    switch (tokens_.current().kind) {
      case TokenKind::dot:
        object = attribute(std::move(object));
        break;
      case TokenKind::lbracket:
        object = subscript(std::move(object));
        break;
      case TokenKind::lparen:
        object = call(std::move(object));
        break;
      default:
        return object;
    }
  }
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr value) {
  while (true) {
    if (tokens_.at(TokenKind::pipe)) {
      value = filters(std::move(value));
    } else if (tokens_.at_name("is")) {
      value = test(std::move(value));
    } else if (tokens_.at(TokenKind::lparen)) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::attribute(ExpressionPtr object) {
  const int line = tokens_.next().line;
  const Token& token = tokens_.next();
  const int depth = depth_of(object);
  if (token.kind == TokenKind::name) {
    return make(line, depth, Attribute{std::move(object), token.text});
  }
  if (token.kind != TokenKind::integer) tokens_.fail("expected name or number", token.line);
  const Value index = parse_integer(token.text, 0).value_or(Value::integer(0));
  ExpressionPtr key = make(line, 0, Constant{index});
  return make(line, depth, Subscript{std::move(object), std::move(key)});
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object) {
  const int line = tokens_.next().line;
  ExpressionPtr parts[3];  // start, stop, step
  bool is_slice = false;
  ExpressionList keys;
  if (!tokens_.at(TokenKind::rbracket)) {
    for (size_t part = 0;; ++part) {
      if (!tokens_.at(TokenKind::colon) && !tokens_.at(TokenKind::rbracket)) {
        parts[part] = expression();
      }
      if (part == 2 || !tokens_.skip_if(TokenKind::colon)) break;
      is_slice = true;
    }
    if (!is_slice) keys.push_back(std::move(parts[0]));
  }
  bool is_tuple = !is_slice && keys.empty();
  while (!is_slice && tokens_.skip_if(TokenKind::comma)) {
    is_tuple = true;
    if (tokens_.at(TokenKind::rbracket)) break;
    keys.push_back(expression());
  }
  tokens_.expect(TokenKind::rbracket);
  int depth = depth_of(object);
  if (is_slice) {
    depth = std::max({depth, depth_of(parts[0]), depth_of(parts[1]), depth_of(parts[2])});
    return make(line, depth,
                SliceExpression{std::move(object), std::move(parts[0]), std::move(parts[1]),
                                std::move(parts[2])});
  }
  ExpressionPtr key = is_tuple ? items_to_tuple(std::move(keys), line) : std::move(keys.front());
  depth = std::max(depth, depth_of(key));
  return make(line, depth, Subscript{std::move(object), std::move(key)});
}

ExpressionPtr ExpressionParser::call(ExpressionPtr callee) {
  const int line = tokens_.line();
  ArgumentList list = arguments();
  const int depth = std::max(depth_of(callee), depth_of(list));
  return make(line, depth, Call{std::move(callee), std::move(list)});
}

ArgumentList ExpressionParser::arguments() {
  const int line = tokens_.expect(TokenKind::lparen).line;
  ArgumentList list;
  for (bool first = true; !tokens_.at(TokenKind::rparen); first = false) {
    if (!first) {
      tokens_.expect(TokenKind::comma);
      if (tokens_.at(TokenKind::rparen)) break;
    }
    argument(list, line);
  }
  tokens_.expect(TokenKind::rparen);
  return list;
}

void ExpressionParser::argument(ArgumentList& list, int line) {
  const auto require = [&](bool valid) {
    if (!valid) tokens_.fail("invalid syntax for function call expression", line);
  };
  if (tokens_.skip_if(TokenKind::mul)) {
    require(list.unpacked_positional == nullptr && list.unpacked_named == nullptr);
    list.unpacked_positional = expression();
  } else if (tokens_.skip_if(TokenKind::pow)) {
    require(list.unpacked_named == nullptr);
    list.unpacked_named = expression();
  } else if (tokens_.at(TokenKind::name) && tokens_.look().kind == TokenKind::assign) {
    require(list.unpacked_named == nullptr);
    std::string name = tokens_.next().text;
    tokens_.next();
    list.named.emplace_back(std::move(name), expression());
  } else {
    require(list.unpacked_positional == nullptr && list.unpacked_named == nullptr &&
            list.named.empty());
    list.positional.push_back(expression());
  }
}

std::string ExpressionParser::dotted_name() {
  std::string name = tokens_.expect(TokenKind::name).text;
  while (tokens_.skip_if(TokenKind::dot)) name += "." + tokens_.expect(TokenKind::name).text;
  return name;
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr input) {
  while (tokens_.skip_if(TokenKind::pipe)) input = filter(std::move(input));
  return input;
}

ExpressionPtr ExpressionParser::inline_filters() { return filters(filter(nullptr)); }

ExpressionPtr ExpressionParser::filter(ExpressionPtr input) {
  const int line = tokens_.line();
  FilterCall node{std::move(input), dotted_name(), nullptr, {}};
  node.filter = find_filter(node.name);
  if (node.filter == nullptr) {
    note_unknown(is_unsupported_filter(node.name)
                     ? fmt::format("the filter '{}' is not supported", node.name)
                     : fmt::format("No filter named {}.", repr_of_text(node.name)),
                 line);
  }
  if (tokens_.at(TokenKind::lparen)) node.arguments = arguments();
  const int depth = std::max(depth_of(node.input), depth_of(node.arguments));
  return make(line, depth, std::move(node));
}

// A test takes arguments in parentheses, or a single one without: `x is divisibleby 3`.
ExpressionList ExpressionParser::test_arguments() {
  ExpressionList list;
  switch (tokens_.current().kind) {
    case TokenKind::name:
    case TokenKind::string:
    case TokenKind::integer:
    case TokenKind::real:
    case TokenKind::lbracket:
    case TokenKind::lbrace:
      break;
    default:
      return list;
  }
  if (tokens_.at_name("else") || tokens_.at_name("or") || tokens_.at_name("and")) return list;
  if (tokens_.at_name("is")) tokens_.fail("You cannot chain multiple tests with is");
  const Level level(*this);
  list.push_back(postfix(primary()));
  return list;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const int line = tokens_.next().line;
  const bool negated = tokens_.skip_if_name("not");
  TestCall node{std::move(value), dotted_name(), nullptr, {}};
  node.test = find_test(node.name);
  if (node.test == nullptr) {
    note_unknown(fmt::format("No test named {}.", repr_of_text(node.name)), line);
  }
  if (tokens_.at(TokenKind::lparen)) {
    node.arguments = arguments();
  } else {
    node.arguments.positional = test_arguments();
  }
  const int depth = std::max(depth_of(node.value), depth_of(node.arguments));
  ExpressionPtr result = make(line, depth, std::move(node));
  if (!negated) return result;
  const int result_depth = depth_of(result);
  return make(line, result_depth, Unary{UnaryOperator::logical_not, std::move(result)});
}

}  // namespace qround::jinja
