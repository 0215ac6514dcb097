// Tokenizers and recorded texts that several tests use.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "tokenizer/tokenizer.h"

namespace qround {

inline std::filesystem::path pocket_directory() {
  return std::filesystem::path(QROUND_SOURCE_DIR) / "models/pocket";
}

inline std::filesystem::path tokenizer_data(const char* name) {
  return std::filesystem::path(QROUND_SOURCE_DIR) / "tests/data/tokenizer" / name;
}

inline const Tokenizer& pocket_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::load(pocket_directory());
  return tokenizer;
}

// A text with what the reference makes of it.
struct RecordedText {
  std::string text, decoded, decoded_skip_special;
  std::vector<int32_t> ids;

  explicit RecordedText(const Json& row)
      : text(row.at("text").as_string()),
        decoded(row.at("decoded").as_string()),
        decoded_skip_special(row.at("decoded_skip_special").as_string()) {
    for (const Json& id : row.at("ids").as_array())
      ids.push_back(static_cast<int32_t>(id.as_int()));
  }
};

inline std::vector<RecordedText> recorded_texts(const Json& rows) {
  std::vector<RecordedText> texts;
  for (const Json& row : rows.as_array()) texts.emplace_back(row);
  return texts;
}

// A tokenizer.json with the tokens of a few words over the letters a to d and the space.
inline Json small_tokenizer_json() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 12, "content": "<end>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": " ?\\w+|\\s"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
    "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
              "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "Ġ": 4, "ab": 5, "cd": 6, "abcd": 7, "bc": 8,
                        "Ġa": 9, "Ã": 10, "©": 11},
              "merges": [["b", "c"], ["a", "b"], ["c", "d"], ["ab", "cd"], ["Ġ", "a"]]}})");
}

// The member at the end of `path`, for tests that damage a good file.
inline Json& member_at(Json& value, const std::vector<std::string>& path) {
  Json* place = &value;
  for (const std::string& key : path) {
    if (place->is_array()) {
      place = &place->as_array().at(std::stoul(key));
    } else {
      place = place->as_object().find(key);
    }
  }
  return *place;
}

// The text of the Error that `action` throws.
template <class Action>
std::string error_text(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

}  // namespace qround
