// The text a model is evaluated on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace qround::eval {

struct TextData {
  std::string name;           // the file's
  std::string text_sha256;    // of the file
  std::string tokens_sha256;  // of the ids as little-endian int32
  std::vector<int32_t> tokens;
};

// A .jsonl file holds strings or objects with a "text" member, one a line; the texts are joined by
// one empty line, as the wikitext convention is. Any other file is one text. Throws Error naming
// file and line.
TextData load_text_data(const std::filesystem::path& file, const Tokenizer& tokenizer);

}  // namespace qround::eval
