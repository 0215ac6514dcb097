#include "engine/draft_depth.h"

#include <algorithm>

namespace qround {
namespace {

constexpr int64_t kProbeEvery = 48;  // steps between tries of another depth
constexpr int64_t kWarmUp = 2;       // tries of each depth at the beginning
constexpr double kGuessedAcceptance = 0.7;
constexpr double kGuessedRowShare = 0.15;  // of a pass, for each further row

}  // namespace

void DraftDepth::Average::add(double x) {
  ++count;
  value += (x - value) / static_cast<double>(std::min<int64_t>(count, 32));
}

void DraftDepth::record_drafts(int verified, int accepted) {
  for (int i = 0; i < verified && i <= accepted; ++i)
    acceptance_[static_cast<size_t>(i)].add(i < accepted ? 1 : 0);
}

void DraftDepth::record_pass(int64_t rows, double seconds) {
  if (rows <= kMaxRows) pass_[static_cast<size_t>(rows)].add(seconds);
}

void DraftDepth::record_drafting(int64_t sequences, int depth, double seconds) {
  drafting_row_[static_cast<size_t>(depth)].add(seconds / static_cast<double>(sequences));
}

// Between the nearest measured numbers of rows; beyond them, a guess.
double DraftDepth::pass_seconds(int64_t rows) const {
  int64_t below = std::min(rows, kMaxRows), above = below;
  while (below > 0 && pass_[static_cast<size_t>(below)].count == 0) --below;
  while (above <= kMaxRows && pass_[static_cast<size_t>(above)].count == 0) ++above;
  const auto value = [&](int64_t at) { return pass_[static_cast<size_t>(at)].value; };
  const auto guess = [&](int64_t from) {
    const auto weight = [](int64_t n) { return 1 + kGuessedRowShare * static_cast<double>(n - 1); };
    return value(from) * weight(rows) / weight(from);
  };
  const bool has_below = below > 0, has_above = above <= kMaxRows;
  if (has_below && has_above && below < above) {
    const double share = static_cast<double>(rows - below) / static_cast<double>(above - below);
    return value(below) + share * (value(above) - value(below));
  }
  if (has_below) return guess(below);
  return has_above ? guess(above) : 1;
}

double DraftDepth::drafting_seconds(int64_t sequences, int depth) const {
  if (depth == 0) return 0;
  for (int nearest = 0; nearest < kMaxDepth; ++nearest)
    for (const int other : {depth - nearest, depth + nearest}) {
      if (other < 1 || other > kMaxDepth) continue;
      const Average& measured = drafting_row_[static_cast<size_t>(other)];
      if (measured.count > 0)
        return measured.value * depth / other * static_cast<double>(sequences);
    }
  return 0.1 * depth * pass_seconds(sequences);
}

double DraftDepth::tokens_per_second(int64_t sequences, int depth) const {
  double tokens = 1, reached = 1;
  for (int i = 0; i < depth; ++i) {
    const Average& measured = acceptance_[static_cast<size_t>(i)];
    reached *= measured.count > 0 ? measured.value : kGuessedAcceptance;
    tokens += reached;
  }
  const double seconds = pass_seconds(sequences * (1 + depth)) + drafting_seconds(sequences, depth);
  return static_cast<double>(sequences) * tokens / seconds;
}

int DraftDepth::choose(int64_t sequences) {
  const int most = std::clamp(options_.depth, 0, kMaxDepth);
  if (!options_.automatic || most == 0) return most;
  const int64_t step = steps_++;
  if (step < kWarmUp * (most + 1)) return static_cast<int>(step % (most + 1));
  int best = 0;
  for (int depth = 1; depth <= most; ++depth)
    if (tokens_per_second(sequences, depth) > tokens_per_second(sequences, best)) best = depth;
  if (step % kProbeEvery != 0) return best;
  const int64_t probe = step / kProbeEvery;
  return std::clamp(best + (probe % 2 == 0 ? 1 : -1), 0, most);
}

}  // namespace qround
