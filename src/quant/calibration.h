// Calibration sequences: text files to [samples, length] token ids.
//
// Sources are given as auto-round's users give them: "a.jsonl:num=64,b.txt:concat". A source is a
// file or the name of a data set that Hugging Face's tools downloaded. A jsonl or json file holds
// strings or objects with "text" or "messages" (put through the chat template); a txt file is one
// text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace qround::quant {

struct CalibrationOptions {
  std::string data;       // sources; ":num=N" says how many sequences come from one, ":concat" and
                          // ":apply_chat_template" set `pack` and `chat_template` for it
  int64_t samples = 128;  // sequences wanted
  int64_t length = 2048;  // tokens of each
  bool pack = false;  // texts joined and cut; false: the first `length` tokens of texts that are
                      // long enough
  bool chat_template = false;           // plain texts become user messages
  uint64_t seed = 42;                   // of the order of texts
  std::filesystem::path dataset_cache;  // empty: where the environment says
};

struct CalibrationData {
  int64_t samples = 0, length = 0;
  std::vector<int32_t> tokens;     // [samples, length]
  std::string sha256;              // of the tokens as little-endian int32
  std::vector<std::string> notes;  // what a person should know: texts left out
};

// `model_directory` has the tokenizer. Throws Error naming the file and line of what cannot be
// read, and, when there is too little text, how many sequences were found; for a data set's name
// that is no file it says how to get one.
CalibrationData load_calibration(const CalibrationOptions& options,
                                 const std::filesystem::path& model_directory);

}  // namespace qround::quant
