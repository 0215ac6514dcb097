// What tokenizer.json says, as plain data: everything this project can do, and nothing else.
//
// Read are byte-level BPE tokenizers as of the Python package `tokenizers`:
//
//   model           BPE; byte_fallback, dropout, prefixes and suffixes of subwords are refused;
//                   merges written as "a b" or as ["a", "b"]
//   normalizer      null, NFC, or a Sequence of these
//   pre_tokenizer   Split (a Regex, Isolated) any number of times, then ByteLevel; in a Sequence or
//   alone decoder         ByteLevel post_processor  null or ByteLevel (they concern offsets only)
//
// Anything of another kind is refused by name. "truncation" and "padding" are left unread: they are
// what the last Python program asked of its batches, not part of the mapping.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/byte_pair_merger.h"

namespace qround {

struct TokenizerSpec {
  struct Entry {
    std::string token;  // in the byte alphabet
    int32_t id;
  };

  bool nfc = false;
  std::vector<std::string> split_patterns;  // applied one after the other
  bool ignore_merges = false;               // a word that is a token needs no merges
  std::vector<Entry> vocabulary;            // ids and tokens are unique
  std::vector<TokenMerge> merges;           // in the order of their ranks
  std::vector<AddedToken> added_tokens;     // ids and contents are unique, contents not empty
};

// Largest id accepted; every table indexed by id stays below this many entries.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

// Throws Error naming `file`, the place in it, what was expected and what was found.
TokenizerSpec read_tokenizer_spec(const Json& tokenizer, const std::filesystem::path& file);

// Adds the tokens of tokenizer_config.json's "added_tokens_decoder" that tokenizer.json lacks.
// Tokens both files name keep the flags of tokenizer.json; throws Error where their ids differ.
void add_tokens_of_config(const Json& config, const std::filesystem::path& file,
                          TokenizerSpec& spec);

}  // namespace qround
