// Calibration sequences: text files to [samples, length] token ids.
//
// Sources are given as auto-round's users give them: "a.jsonl:num=64,b.txt". A jsonl or json file
// holds strings or objects with "text" or "messages" (put through the chat template); a txt file is
// one text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace qround::quant {

struct CalibrationOptions {
  std::string data;       // files, with ":num=N" to say how many sequences come from one
  int64_t samples = 128;  // sequences wanted
  int64_t length = 2048;  // tokens of each
  bool pack = false;  // texts joined and cut; false: the first `length` tokens of texts that are
                      // long enough
  bool chat_template = false;  // plain texts become user messages
  uint64_t seed = 42;          // of the order of texts
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
