// The parser's view of the tokens: one current token, one look ahead.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "tokenizer/jinja_lexer.h"

namespace qround::jinja {

class TokenStream {
 public:
  // `name` is the template's, for errors; it must outlive the stream. Every function that comes to
  // the list's failure throws it, this one included.
  TokenStream(TokenList list, std::string_view name);

  const Token& current() const { return tokens_[position_]; }
  const Token& look() const { return tokens_[following()]; }
  int line() const { return current().line; }

  bool at(TokenKind kind) const { return current().kind == kind; }
  bool at_name(std::string_view name) const {
    return at(TokenKind::name) && current().text == name;
  }
  bool at_end() const { return at(TokenKind::end); }

  const Token& next();  // the current token, which is left behind
  bool skip_if(TokenKind kind);
  bool skip_if_name(std::string_view name);
  // Throw Error "expected token 'X', got 'Y'".
  const Token& expect(TokenKind kind);
  void expect_name(std::string_view name);

  [[noreturn]] void fail(const std::string& message) const { fail(message, line()); }
  [[noreturn]] void fail(const std::string& message, int line) const;

 private:
  size_t following() const;  // index of the next token; `end` follows itself
  [[noreturn]] void fail_expected(std::string_view expected) const;

  std::vector<Token> tokens_;
  std::optional<Error> failure_;
  std::string_view name_;
  size_t position_ = 0;
};

}  // namespace qround::jinja
