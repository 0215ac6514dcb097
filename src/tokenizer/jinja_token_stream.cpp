#include "tokenizer/jinja_token_stream.h"

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {

TokenStream::TokenStream(TokenList list, std::string_view name)
    : tokens_(std::move(list.tokens)), failure_(std::move(list.failure)), name_(name) {
  if (tokens_.empty()) throw *failure_;
}

size_t TokenStream::following() const {
  if (position_ + 1 < tokens_.size()) return position_ + 1;
  if (failure_) throw *failure_;
  return position_;
}

const Token& TokenStream::next() {
  const Token& token = tokens_[position_];
  position_ = following();
  return token;
}

bool TokenStream::skip_if(TokenKind kind) {
  if (!at(kind)) return false;
  next();
  return true;
}

bool TokenStream::skip_if_name(std::string_view name) {
  if (!at_name(name)) return false;
  next();
  return true;
}

const Token& TokenStream::expect(TokenKind kind) {
  if (!at(kind)) fail_expected(describe(kind));
  return next();
}

void TokenStream::expect_name(std::string_view name) {
  if (!at_name(name)) fail_expected(name);
  next();
}

void TokenStream::fail_expected(std::string_view expected) const {
  if (at_end()) {
    fail(fmt::format("unexpected end of template, expected {}.", repr_of_text(expected)));
  }
  fail(fmt::format("expected token {}, got {}", repr_of_text(expected),
                   repr_of_text(describe(current()))));
}

void TokenStream::fail(const std::string& message, int line) const {
  throw Error(message).file(fmt::format("{}:{}", name_, line));
}

}  // namespace qround::jinja
