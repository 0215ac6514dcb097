// From scores of rows to the figures people compare.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/lane_scores.h"
#include "eval/protocol.h"
#include "eval/statistics.h"

namespace qround::eval {

// Teacher-forced drafts of the MTP head at one depth beside the network's own top tokens.
struct DraftFigures {
  int64_t rows = 0, hits = 0, chains = 0;
  Estimate agreement;  // hits / rows
  Estimate chain;      // chains / rows: this draft and all before it are right
};

struct LayerFigures {
  double relative_error = 0;  // |h - h0| / |h0| of the layer's output, Frobenius norms
  double rerouted = 0;        // share of rows whose set of experts differs
  double replaced = 0;        // share of chosen experts that are others
  std::vector<int64_t> expert_rows;
};

// A lane beside lane 0.
struct Divergence {
  Estimate mean;
  double median = 0, p90 = 0, p99 = 0, p999 = 0, max = 0;
  int64_t rows = 0, top_differs = 0;
  Estimate top_agreement;     // share of rows with the same top token
  Estimate perplexity_ratio;  // lane / lane 0
  // Rows by divergence, in steps of a quarter of a power of ten: bin i holds
  // [10^(i/4 - 10), 10^((i+1)/4 - 10)); the first one also everything below, the last above.
  std::vector<int64_t> histogram;
};

struct LaneFigures {
  std::string name;
  int64_t targets = 0;  // predicted tokens
  Estimate perplexity;
  std::optional<Divergence> divergence;  // absent for lane 0
  std::vector<DraftFigures> drafts;      // by depth; empty without MTP head
  std::vector<LayerFigures> layers;
  std::vector<double> window_divergence;  // mean of each window; empty for lane 0
};

inline constexpr int kHistogramBins = 44;  // from 1e-10 to 10

LaneFigures figures_of(const std::string& name, const LaneScores& scores,
                       const LaneScores& reference, bool is_reference,
                       const std::vector<Window>& windows);

// Mean divergence of a lane, and of lane `a` minus that of lane `b`, window by window.
Estimate mean_divergence(const LaneScores& scores, const std::vector<Window>& windows);
Estimate divergence_difference(const LaneScores& a, const LaneScores& b,
                               const std::vector<Window>& windows);

Json to_json(const LaneFigures& figures);

}  // namespace qround::eval
