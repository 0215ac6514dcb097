#include "tokenizer/tokenizer_json_node.h"

#include <fmt/format.h>

#include "tokenizer/tokenizer_spec.h"

namespace qround {

TokenizerJsonNode TokenizerJsonNode::at(std::string_view key) const {
  if (!value_->is_object()) wrong_type("an object");
  const Json* member = value_->find(key);
  if (!member) throw error(fmt::format("{} has no \"{}\"", place_or_file(), key));
  return child(*member, key);
}

std::optional<TokenizerJsonNode> TokenizerJsonNode::find(std::string_view key) const {
  if (!value_->is_object()) wrong_type("an object");
  const Json* member = value_->find(key);
  if (!member || member->is_null()) return std::nullopt;
  return child(*member, key);
}

TokenizerJsonNode TokenizerJsonNode::element(size_t idx) const {
  return {value_->as_array()[idx], fmt::format("{}[{}]", place_, idx), *file_};
}

TokenizerJsonNode TokenizerJsonNode::child(const Json& member, std::string_view key) const {
  return {member, place_.empty() ? std::string(key) : fmt::format("{}.{}", place_, key), *file_};
}

const std::string& TokenizerJsonNode::string() const {
  if (!value_->is_string()) wrong_type("a string");
  return value_->as_string();
}

const Json::Array& TokenizerJsonNode::array() const {
  if (!value_->is_array()) wrong_type("an array");
  return value_->as_array();
}

const JsonObject& TokenizerJsonNode::object() const {
  if (!value_->is_object()) wrong_type("an object");
  return value_->as_object();
}

bool TokenizerJsonNode::flag(std::string_view key, bool otherwise) const {
  const std::optional<TokenizerJsonNode> member = find(key);
  if (!member) return otherwise;
  if (!member->value_->is_bool()) member->wrong_type("a boolean");
  return member->value_->as_bool();
}

bool TokenizerJsonNode::is_zero() const { return value_->is_number() && value_->as_double() == 0; }

int32_t TokenizerJsonNode::id() const {
  if (!value_->is_int()) wrong_type("an integer");
  return checked_id(value_->as_int());
}

int32_t TokenizerJsonNode::checked_id(int64_t id) const {
  if (id < 0 || id > kMaxTokenId) {
    throw error(place_ + ": token id out of range")
        .expected(fmt::format("0 to {}", kMaxTokenId))
        .actual(std::to_string(id));
  }
  return static_cast<int32_t>(id);
}

Error TokenizerJsonNode::error(std::string message) const {
  Error error(std::move(message));
  error.file(*file_);
  return error;
}

void TokenizerJsonNode::refuse(std::string_view expected, std::string_view actual) const {
  throw error(fmt::format("this kind of tokenizer is not supported ({})", place_))
      .expected(expected)
      .actual(actual)
      .hint("byte-level BPE tokenizers can be read, the kind the Qwen models have");
}

void TokenizerJsonNode::wrong_type(std::string_view expected) const {
  throw error(place_or_file() + " has the wrong type")
      .expected(expected)
      .actual(value_->type_name());
}

}  // namespace qround
