// Where a model directory keeps its chat templates and the special tokens they read.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace qround {

struct ChatTemplateSource {
  std::string name;  // "default", "tool_use", ...
  std::string text;
  std::string label;  // stands in errors: the file, with the name where a file holds several
};

// All templates of the directory, none when it has none. Throws Error for files that cannot be
// understood.
std::vector<ChatTemplateSource> find_chat_templates(const std::filesystem::path& directory);

// An object of strings: every *_token of tokenizer_config.json and its named extra tokens; for
// directories of older versions those of special_tokens_map.json too.
Json read_special_tokens(const std::filesystem::path& directory);

}  // namespace qround
