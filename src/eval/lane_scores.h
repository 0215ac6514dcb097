// What is known of a lane after its windows were read: numbers per row and per layer, from which
// every figure of the report is computed.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace qround::eval {

inline constexpr int kDraftDepths = 3;

// Rows of one window whose teacher-forced draft equals the network's own top token.
struct DraftCounts {
  std::array<int64_t, kDraftDepths> rows = {};    // drafts made at depth 1, 2, 3
  std::array<int64_t, kDraftDepths> hits = {};    // of these, right
  std::array<int64_t, kDraftDepths> chains = {};  // right, and right at all smaller depths too

  friend bool operator==(const DraftCounts&, const DraftCounts&) = default;
};

// One layer's output beside lane 0's, over all compared rows.
struct LayerScores {
  double error_squared = 0;      // sum of (h - h0)²
  double reference_squared = 0;  // sum of h0²
  int64_t rows = 0;
  int64_t rerouted = 0;              // rows whose set of experts differs from lane 0's
  int64_t replaced = 0;              // experts that lane 0 did not choose, over all rows
  std::vector<int64_t> expert_rows;  // [E] rows that chose the expert; empty: no mixture

  friend bool operator==(const LayerScores&, const LayerScores&) = default;
};

struct LaneScores {
  std::vector<double> nll;          // of every target row, in order of windows
  std::vector<double> divergence;   // KL(lane 0 ‖ lane) of every compared row; empty for lane 0
  std::vector<int32_t> top;         // of every compared row
  std::vector<DraftCounts> drafts;  // per window; empty without MTP head
  std::vector<LayerScores> layers;

  friend bool operator==(const LaneScores&, const LaneScores&) = default;
};

}  // namespace qround::eval
