// Multiple-choice questions answered by log-likelihood, as lm-evaluation-harness does: the text of
// a choice is the question, a space and the choice; the answer is the choice whose tokens are the
// likeliest after the question, in sum (acc) or per character (acc_norm).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/lane_scores.h"
#include "eval/protocol.h"
#include "eval/statistics.h"
#include "tokenizer/tokenizer.h"

namespace qround::eval {

struct ChoiceQuestion {
  std::vector<int64_t> characters;  // of each choice, Unicode code points
  int64_t answer = 0;               // index of the right one
};

struct ChoiceTask {
  std::string name;    // the file's
  std::string sha256;  // of the file
  std::vector<ChoiceQuestion> questions;
  WindowedText text;  // a window per choice, scored on the choice's tokens
};

// One object a line: "question", "choices" (texts, at least two) and "answer", the index of the
// right one or its text. Spaces at a question's end belong to the choices, as in the harness.
// Throws Error naming file and line.
ChoiceTask load_choices(const std::filesystem::path& file, const Tokenizer& tokenizer);

struct ChoiceFigures {
  std::string name;   // of the lane
  Estimate accuracy;  // interval: bootstrap over questions
  Estimate accuracy_norm;
  std::vector<int64_t> picks;  // by sum
};

ChoiceFigures choice_figures(const std::string& lane, const LaneScores& scores,
                             const ChoiceTask& task);

Json to_json(const ChoiceFigures& figures);

}  // namespace qround::eval
