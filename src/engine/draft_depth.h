// How many drafts a step should verify.
//
// A step of depth k gives 1 + a_1 + a_1 a_2 + … tokens, a_i being the share of i-th drafts that
// are accepted once those before them are, and takes the time of a pass over all rows plus that of
// making the drafts. Both are measured while running; the depth with most tokens per second wins.
// Nothing here changes what is generated.
#pragma once

#include <array>
#include <cstdint>

#include "engine/engine_options.h"

namespace qround {

class DraftDepth {
 public:
  static constexpr int kMaxDepth = DraftOptions::kMaxDepth;

  explicit DraftDepth(const DraftOptions& options) : options_(options) {}

  // The depth for the next step of `sequences` sequences.
  int choose(int64_t sequences);

  // What happened to one sequence's drafts.
  void record_drafts(int verified, int accepted);
  // A pass over `rows` rows of decoding sequences and nothing else.
  void record_pass(int64_t rows, double seconds);
  // Making `depth` drafts each for `sequences` sequences.
  void record_drafting(int64_t sequences, int depth, double seconds);

 private:
  // An average in which the newest values count most.
  struct Average {
    double value = 0;
    int64_t count = 0;
    void add(double x);
  };
  static constexpr int64_t kMaxRows = 128;

  double pass_seconds(int64_t rows) const;
  double drafting_seconds(int64_t sequences, int depth) const;
  double tokens_per_second(int64_t sequences, int depth) const;

  DraftOptions options_;
  int64_t steps_ = 0;
  std::array<Average, kMaxDepth> acceptance_;
  std::array<Average, kMaxRows + 1> pass_;           // by rows
  std::array<Average, kMaxDepth + 1> drafting_row_;  // by depth, of one sequence
};

}  // namespace qround
