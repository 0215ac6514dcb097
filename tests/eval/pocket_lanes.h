// The pocket model and its evaluation text, for tests of the eval layer.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "eval/protocol.h"
#include "eval/text_data.h"
#include "model/model.h"

namespace qround::eval {

inline std::filesystem::path in_source_tree(const char* path) {
  return std::filesystem::path(QROUND_SOURCE_DIR) / path;
}

inline std::shared_ptr<const Model> pocket_model(const char* path) {
  return std::make_shared<const Model>(
      Model::load(std::make_shared<Checkpoint>(Checkpoint::open(in_source_tree(path)))));
}

// The first windows of 256 tokens.
inline WindowedText pocket_text(int64_t windows) {
  Protocol protocol = protocol_named("windows");
  protocol.max_windows = windows;
  const Tokenizer tokenizer = Tokenizer::load(in_source_tree("models/pocket"));
  return cut_windows(
      load_text_data(in_source_tree("models/pocket/evaluation.txt"), tokenizer).tokens, protocol);
}

}  // namespace qround::eval
