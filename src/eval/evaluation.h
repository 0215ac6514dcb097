// `qround eval`: a checkpoint on a text, beside its source.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/figures.h"
#include "eval/side_by_side.h"
#include "eval/text_data.h"

namespace qround::eval {

struct EvaluationSpec {
  std::filesystem::path directory;
  std::filesystem::path source;  // empty: perplexity and acceptance of `directory` alone
  std::filesystem::path data;
  Protocol protocol;
  SideBySideOptions run;
};

struct Evaluation {
  std::string directory, source;  // last parts of the paths; source may be empty
  TextData text;                  // without the tokens
  Protocol protocol;
  int64_t windows = 0;
  std::vector<LaneFigures> lanes;  // the source first, then the checkpoint
  std::vector<LaneScores> scores;  // of the same lanes, row by row
  std::string backend;
  int threads = 0;
  double seconds = 0;
  uint64_t peak_memory_bytes = 0;
};

// Throws Error; of kind `interrupted` when stopped.
Evaluation run_evaluation(const EvaluationSpec& spec);

Json to_json(const Evaluation& evaluation);

}  // namespace qround::eval
