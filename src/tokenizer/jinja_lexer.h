// Splits a template into text and the tokens inside its tags, white space control already applied.
//
// The settings are those chat templates are written for: trim_blocks (a line break right after a
// block tag is dropped), lstrip_blocks (blanks before a block tag that begins a line are dropped),
// a single line break at the very end is dropped, line breaks are "\n".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace qround::jinja {

enum class TokenKind {
  text,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  add,
  sub,
  mul,
  div,
  floordiv,
  mod,
  pow,
  tilde,
  eq,
  ne,
  gt,
  gteq,
  lt,
  lteq,
  assign,
  dot,
  colon,
  pipe,
  comma,
  semicolon,
  lparen,
  rparen,
  lbracket,
  rbracket,
  lbrace,
  rbrace,
  end,
};

struct Token {
  TokenKind kind;
  std::string text;  // a string's escapes are resolved, a number's underscores removed
  int line;
};

// As error messages name it: the name itself, "integer", "end of statement block", ...
std::string_view describe(TokenKind kind);
std::string_view describe(const Token& token);

struct TokenList {
  std::vector<Token> tokens;
  // What is wrong behind the last token; without it the last one is of kind `end`. It is for the
  // parser to throw when it gets there, since a mistake before it is the better message.
  std::optional<Error> failure;  // its file() is "NAME:LINE"
};

TokenList tokenize(std::string_view source, std::string_view name);

}  // namespace qround::jinja
