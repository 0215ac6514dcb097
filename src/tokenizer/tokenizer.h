// Text to tokens and back, as a checkpoint's tokenizer.json prescribes.
//
// The pipeline is that of the Python package `tokenizers` and gives the same ids: added tokens are
// cut out of the raw text; what lies between is put into NFC, split into words by the file's own
// pattern, and each word's bytes are merged pair by pair. No token is added in front or behind.
//
//   const Tokenizer tokenizer = Tokenizer::load(directory);
//   std::vector<int32_t> ids = tokenizer.encode("Hello<|im_end|>");
//   std::string text = tokenizer.decode(ids);
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tokenizer/added_tokens.h"

namespace qround {

struct TokenizerSpec;

// Movable. All const members may be called from several threads at once.
class Tokenizer {
 public:
  // Reads tokenizer.json and, where there is one, tokenizer_config.json, whose added_tokens_decoder
  // may hold further added tokens. Throws Error naming the file and what is wrong with it;
  // tokenizers of another kind than byte-level BPE are refused by name (tokenizer_spec.h lists what
  // is read).
  static Tokenizer load(const std::filesystem::path& directory);
  // tokenizer.json alone, already parsed; `file` is named in errors.
  static Tokenizer from_json(const Json& tokenizer,
                             const std::filesystem::path& file = "tokenizer.json");
  explicit Tokenizer(const TokenizerSpec& spec);
  ~Tokenizer();
  Tokenizer(Tokenizer&& other) noexcept;
  Tokenizer& operator=(Tokenizer&& other) noexcept;

  // The ids of `text`. Bytes that are not UTF-8 count as U+FFFD.
  std::vector<int32_t> encode(std::string_view text, ParseTokens parse = ParseTokens::all) const;

  // The text of `ids`; what is no UTF-8 becomes U+FFFD. Ids that are no token add nothing. For text
  // that arrives token by token see streaming_decoder.h.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  // The id of an added token's content or of a token's bytes ("<|im_end|>", " the").
  std::optional<int32_t> token_to_id(std::string_view bytes) const;
  // The bytes `id` decodes to, possibly a part of a character; empty when `id` is no token. Valid
  // as long as the tokenizer.
  std::string_view id_to_token(int32_t id) const;
  bool is_special(int32_t id) const;
  const std::vector<AddedToken>& added_tokens() const;
  // One more than the largest id. A model may have more rows than that, as padding.
  size_t vocab_size() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qround
