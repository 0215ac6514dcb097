// What tests of speculative decoding share: the pocket model, prompts from its text, outputs of
// many requests at once.
#pragma once

#include "engine/engine.h"
#include "tests/engine/engine_output.h"
#include "tests/engine/random_model.h"
#include "tokenizer/tokenizer.h"

namespace qround {

inline std::filesystem::path source_path(const char* relative) {
  return std::filesystem::path(QROUND_SOURCE_DIR) / relative;
}

inline Model load(const char* relative) {
  return Model::load(std::make_shared<Checkpoint>(Checkpoint::open(source_path(relative))));
}

inline EngineOptions options_for(int depth, bool automatic = false) {
  return {.max_sequences = 4,
          .state_budget_bytes = 256 << 20,
          .drafts = {.automatic = automatic, .depth = depth},
          .threads = Threads{2}};
}

inline std::vector<int32_t> random_prompt(uint64_t seed, int64_t vocab) {
  std::vector<int32_t> ids(1 + random_bits(seed, 0, 0) % 60);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(random_bits(seed, 1, i) % static_cast<uint64_t>(vocab));
  return ids;
}

// Beginnings of the pocket model's evaluation text.
inline std::vector<std::vector<int32_t>> pocket_prompts(size_t count) {
  const Tokenizer tokenizer = Tokenizer::load(source_path("models/pocket"));
  const std::string text = read_file(source_path("models/pocket/evaluation.txt"));
  const std::vector<int32_t> ids = tokenizer.encode(text);
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * (ids.size() - 80) / count;
    prompts.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                         ids.begin() + static_cast<std::ptrdiff_t>(begin + 8 + 7 * i % 60));
  }
  return prompts;
}

// All prompts through one engine, several at once.
inline std::vector<EngineOutput> outputs_of(const Model& model, const EngineOptions& options,
                                            const std::vector<std::vector<int32_t>>& prompts,
                                            const SamplingOptions& sampling, int64_t tokens,
                                            const char* backend = "cpu") {
  Engine engine(model, ops::select_backend(backend), options);
  std::vector<Generation> generations;
  for (const auto& prompt : prompts)
    generations.push_back(
        engine.submit({.tokens = prompt, .sampling = sampling, .max_tokens = tokens}));
  std::vector<EngineOutput> outputs;
  for (Generation& generation : generations) outputs.push_back(output_of(std::move(generation)));
  return outputs;
}

}  // namespace qround
