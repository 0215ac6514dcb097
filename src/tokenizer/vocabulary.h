// The tokens of a tokenizer as bytes: by id, and the other way round.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace qround {

struct TokenizerSpec;

// Immutable once built. Movable; the views it gives out stay valid.
class Vocabulary {
 public:
  explicit Vocabulary(const TokenizerSpec& spec);

  std::string_view bytes(int32_t id) const {  // empty: no such token
    return id >= 0 && static_cast<size_t>(id) < tokens_.size() ? tokens_[id] : std::string_view();
  }
  // The token of the model (not an added one) with these bytes.
  std::optional<int32_t> find(std::string_view bytes) const;
  size_t size() const { return tokens_.size(); }     // one more than the largest id
  size_t longest_token() const { return longest_; }  // in bytes, of the model's tokens

 private:
  std::vector<char> storage_;
  std::vector<std::string_view> tokens_;  // by id, into storage_
  std::unordered_map<std::string_view, int32_t> ids_;
  size_t longest_ = 0;
};

}  // namespace qround
