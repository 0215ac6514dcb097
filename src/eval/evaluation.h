// `qround eval`: a checkpoint on a text, beside its source.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "eval/ablation.h"
#include "eval/drafting.h"
#include "eval/figures.h"
#include "eval/multiple_choice.h"
#include "eval/side_by_side.h"
#include "eval/text_data.h"

namespace qround::eval {

struct EvaluationSpec {
  std::filesystem::path directory;
  std::filesystem::path source;    // empty: perplexity and acceptance of `directory` alone
  std::filesystem::path baseline;  // another checkpoint of the same source; empty: none
  std::filesystem::path data;
  Protocol protocol;
  bool noise_floor = false;  // the source once more, with the operations of backend `ref`
  bool ablate = false;
  DraftingOptions drafting;
  SideBySideOptions run;  // its state_key is set by run_evaluation
};

struct LaneDrafting {
  std::string lane;
  std::vector<DraftingCounts> depths;
};

struct Evaluation {
  std::string directory, source;  // last parts of the paths; source may be empty
  TextData text;                  // without the tokens
  Protocol protocol;
  int64_t windows = 0;
  std::vector<LaneFigures> lanes;  // "source", "result", "baseline", "noise": those there are
  std::vector<LaneScores> scores;  // of the same lanes, row by row
  std::optional<Estimate> baseline_difference;  // divergence of the baseline minus the result's
  std::vector<Ablation> ablations;              // largest gain per megabyte first
  DraftingOptions drafting_options;
  std::vector<LaneDrafting> drafting;
  std::string backend;
  int threads = 0;
  double seconds = 0;
  uint64_t peak_memory_bytes = 0;
};

const LaneFigures& lane_named(const Evaluation& evaluation, std::string_view name);

// Throws Error; of kind `interrupted` when stopped.
Evaluation run_evaluation(const EvaluationSpec& spec);

// Source (if any) and checkpoint on multiple-choice questions; of the spec, text, protocol and what
// goes beyond the two lanes are not looked at.
struct ChoiceEvaluation {
  std::string directory, source, data, data_sha256;
  int64_t questions = 0;
  std::vector<ChoiceFigures> lanes;
  double seconds = 0;
};
ChoiceEvaluation run_choice_evaluation(const EvaluationSpec& spec,
                                       const std::filesystem::path& choices);

Json to_json(const Evaluation& evaluation);
Json to_json(const ChoiceEvaluation& evaluation);

}  // namespace qround::eval
