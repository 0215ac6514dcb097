// A model directory ready to talk: network, tokenizer, chat template and the settings its maker
// recommends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/common_options.h"
#include "model/model.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace qround {

// The network in `directory`, ready for compute.table(), with the copies that `compute` asks for.
Model load_model(const std::filesystem::path& directory, const ComputeOptions& compute);

struct TextModel {
  Model model;
  Tokenizer tokenizer;
  Json generation_config;            // an empty object when the directory has none
  std::vector<int32_t> stop_tokens;  // its eos_token_id, or config.json's

  static TextModel load(const std::filesystem::path& directory, const ComputeOptions& compute);
};

}  // namespace qround
