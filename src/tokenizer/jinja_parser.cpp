#include "tokenizer/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja_expression_parser.h"
#include "tokenizer/jinja_repr.h"
#include "tokenizer/jinja_token_stream.h"

namespace qround::jinja {
namespace {

using BodyPtr = std::shared_ptr<const Body>;
using EndNames = std::vector<std::string_view>;

class Parser {
 public:
  Parser(std::string_view source, std::string_view name)
      : tokens_(tokenize(source, name), name), expressions_(tokens_) {}

  BodyPtr run() {
    BodyPtr body = statements_until({});
    expressions_.report_unknown();
    return body;
  }

 private:
  // ---- Text, {{ }} and {% %} up to a tag named in `ends`, which stays the current token.

  BodyPtr statements_until(const EndNames& ends) {
    auto body = std::make_shared<Body>();
    if (!ends.empty()) end_names_.push_back(ends);
    while (!tokens_.at_end()) {
      const int line = tokens_.line();
      const Token& token = tokens_.next();
      if (token.kind == TokenKind::text) {
        body->push_back({line, Text{token.text}});
      } else if (token.kind == TokenKind::variable_begin) {
        Output output;
        output.expressions.push_back(expressions_.tuple());
        tokens_.expect(TokenKind::variable_end);
        body->push_back({line, std::move(output)});
      } else {
        if (at_one_of(ends)) {
          end_names_.pop_back();
          return body;
        }
        body->push_back(statement());
        tokens_.expect(TokenKind::block_end);
      }
    }
    if (!ends.empty()) fail_unfinished();
    return body;
  }

  // The body of a statement: behind its tag, up to one of `ends`.
  BodyPtr body_until(const EndNames& ends) {
    tokens_.skip_if(TokenKind::colon);
    tokens_.expect(TokenKind::block_end);
    return statements_until(ends);
  }

  // The same where only one tag can end it, which is taken as well.
  BodyPtr body_to(std::string_view end) {
    BodyPtr body = body_until({end});
    tokens_.next();
    return body;
  }

  bool at_one_of(const EndNames& ends) const {
    return tokens_.at(TokenKind::name) &&
           std::find(ends.begin(), ends.end(), tokens_.current().text) != ends.end();
  }

  // ---- Statements

  Statement statement() {
    if (!tokens_.at(TokenKind::name)) tokens_.fail("tag name expected");
    using Handler = Statement (Parser::*)();
    struct Tag {
      std::string_view name;
      Handler handler;
    };
    static constexpr auto kTags = std::to_array<Tag>({
        {"for", &Parser::for_statement},
        {"if", &Parser::if_statement},
        {"set", &Parser::set_statement},
        {"macro", &Parser::macro_statement},
        {"call", &Parser::call_statement},
        {"filter", &Parser::filter_statement},
        {"with", &Parser::with_statement},
        {"print", &Parser::print_statement},
        {"generation", &Parser::generation_statement},
        {"break", &Parser::loop_control},
        {"continue", &Parser::loop_control},
    });
    const std::string& name = tokens_.current().text;
    const auto found =
        std::find_if(kTags.begin(), kTags.end(), [&](const Tag& tag) { return tag.name == name; });
    if (found == kTags.end()) fail_tag(name);
    const ExpressionParser::Level level(expressions_);
    open_tags_.push_back(name);
    Statement result = (this->*found->handler)();
    open_tags_.pop_back();
    return result;
  }

  Statement for_statement() {
    const int line = tokens_.next().line;
    For node{expressions_.target("in", false), nullptr, nullptr, nullptr, nullptr};
    refuse_loop_target(node.target);
    tokens_.expect_name("in");
    node.iterable = expressions_.tuple(ExpressionParser::Conditionals::excluded);
    if (tokens_.skip_if_name("if")) node.condition = expressions_.expression();
    if (tokens_.at_name("recursive")) tokens_.fail("recursive loops are not supported");
    ++loop_depth_;
    node.body = body_until({"endfor", "else"});
    --loop_depth_;
    if (tokens_.next().text == "else") node.otherwise = body_to("endfor");
    return {line, std::move(node)};
  }

  void refuse_loop_target(const Target& target) {
    if (!target.is_tuple && target.name == "loop") {
      tokens_.fail("Can't assign to special loop variable in for-loop target", target.line);
    }
    for (const Target& item : target.items) refuse_loop_target(item);
  }

  Statement if_statement() {
    const int line = tokens_.line();
    const size_t mark = expressions_.mark_unknown();
    If node;
    do {
      tokens_.next();
      ExpressionPtr condition = expressions_.tuple(ExpressionParser::Conditionals::excluded);
      node.branches.push_back({std::move(condition), body_until({"elif", "else", "endif"})});
    } while (tokens_.at_name("elif"));
    if (tokens_.next().text == "else") node.otherwise = body_to("endif");
    expressions_.forget_unknown(mark);
    return {line, std::move(node)};
  }

  Statement set_statement() {
    const int line = tokens_.next().line;
    Target target = expressions_.target("", true);
    if (tokens_.skip_if(TokenKind::assign)) {
      return {line, Set{std::move(target), expressions_.tuple()}};
    }
    ExpressionPtr filter = expressions_.filters(nullptr);
    return {line, SetBlock{std::move(target), std::move(filter), body_to("endset")}};
  }

  Statement with_statement() {
    const int line = tokens_.next().line;
    With node;
    while (!tokens_.at(TokenKind::block_end)) {
      if (!node.variables.empty()) tokens_.expect(TokenKind::comma);
      Target target = expressions_.target("", false);
      tokens_.expect(TokenKind::assign);
      node.variables.emplace_back(std::move(target), expressions_.expression());
    }
    node.body = body_to("endwith");
    return {line, std::move(node)};
  }

  Statement print_statement() {
    const int line = tokens_.next().line;
    Output node;
    while (!tokens_.at(TokenKind::block_end)) {
      if (!node.expressions.empty()) tokens_.expect(TokenKind::comma);
      node.expressions.push_back(expressions_.expression());
    }
    return {line, std::move(node)};
  }

  Statement macro_statement() {
    const int line = tokens_.next().line;
    auto macro = std::make_shared<MacroDefinition>();
    macro->name = expressions_.name_target().name;
    signature(*macro);
    macro_body(*macro, "endmacro");
    return {line, MacroStatement{std::move(macro)}};
  }

  Statement call_statement() {
    const int line = tokens_.next().line;
    auto caller = std::make_shared<MacroDefinition>();
    caller->name = "caller";
    if (tokens_.at(TokenKind::lparen)) signature(*caller);
    ExpressionPtr call = expressions_.expression();
    if (!std::holds_alternative<Call>(call->node)) tokens_.fail("expected call", line);
    macro_body(*caller, "endcall");
    return {line, CallBlock{std::move(call), std::move(caller)}};
  }

  void signature(MacroDefinition& macro) {
    tokens_.expect(TokenKind::lparen);
    while (!tokens_.at(TokenKind::rparen)) {
      if (!macro.parameters.empty()) tokens_.expect(TokenKind::comma);
      macro.parameters.push_back(expressions_.name_target().name);
      if (tokens_.skip_if(TokenKind::assign)) {
        macro.defaults.push_back(expressions_.expression());
      } else if (!macro.defaults.empty()) {
        tokens_.fail("non-default argument follows default argument");
      }
    }
    tokens_.expect(TokenKind::rparen);
  }

  // A macro is a function of its own: a loop around it cannot be left from inside.
  void macro_body(MacroDefinition& macro, std::string_view end) {
    const int outer_loops = std::exchange(loop_depth_, 0);
    expressions_.enter_macro(&macro);
    macro.body = body_to(end);
    expressions_.leave_macro();
    loop_depth_ = outer_loops;
  }

  Statement filter_statement() {
    const int line = tokens_.next().line;
    ExpressionPtr filter = expressions_.inline_filters();
    return {line, FilterBlock{std::move(filter), body_to("endfilter")}};
  }

  Statement generation_statement() {
    const int line = tokens_.next().line;
    const int outer_loops = std::exchange(loop_depth_, 0);
    ScopeBlock node{body_to("endgeneration")};
    loop_depth_ = outer_loops;
    return {line, std::move(node)};
  }

  Statement loop_control() {
    const Token& token = tokens_.next();
    if (loop_depth_ == 0) tokens_.fail(fmt::format("'{}' outside loop", token.text), token.line);
    if (token.text == "break") return {token.line, Break{}};
    return {token.line, Continue{}};
  }

  // ---- Errors

  [[noreturn]] void fail_tag(const std::string& name) {
    for (std::string_view refused :
         {"extends", "include", "import", "from", "block", "autoescape"}) {
      if (name == refused) {
        tokens_.fail(fmt::format("the tag '{}' is not supported in chat templates", name));
      }
    }
    fail_looking(fmt::format("Encountered unknown tag {}.", repr_of_text(name)), name);
  }

  [[noreturn]] void fail_unfinished() { fail_looking("Unexpected end of template.", ""); }

  [[noreturn]] void fail_looking(std::string message, std::string_view tag) {
    if (!end_names_.empty()) {
      std::string wanted;
      for (std::string_view name : end_names_.back()) {
        wanted += (wanted.empty() ? "" : " or ") + repr_of_text(name);
      }
      const bool ends_outer_tag =
          std::any_of(end_names_.begin(), end_names_.end(), [&](const EndNames& names) {
            return std::find(names.begin(), names.end(), tag) != names.end();
          });
      message += ends_outer_tag
                     ? " You probably made a nesting mistake. Jinja is expecting this tag, but "
                       "currently looking for " +
                           wanted + "."
                     : " Jinja was looking for the following tags: " + wanted + ".";
    }
    if (!open_tags_.empty()) {
      message +=
          fmt::format(" The innermost block that needs to be closed is '{}'.", open_tags_.back());
    }
    tokens_.fail(message);
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  std::vector<EndNames> end_names_;     // what each open body waits for
  std::vector<std::string> open_tags_;  // from the outermost to the innermost
  int loop_depth_ = 0;
};

}  // namespace

std::shared_ptr<const Body> parse(std::string_view source, std::string_view name) {
  return Parser(source, name).run();
}

}  // namespace qround::jinja
