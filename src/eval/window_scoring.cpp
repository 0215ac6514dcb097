#include "eval/window_scoring.h"

#include <algorithm>

#include "eval/row_scores.h"

namespace qround::eval {
namespace {

// A tile's logits take at most so many floats per lane, unless one row has more.
constexpr int64_t kTileFloats = int64_t{1} << 24;
constexpr int64_t kTileRows = 64;

int64_t tile_rows(int64_t vocab) { return std::clamp<int64_t>(kTileFloats / vocab, 1, kTileRows); }

// Calls body(first, rows) for tiles that cover rows [begin, end).
template <typename Body>
void for_each_tile(int64_t begin, int64_t end, int64_t vocab, const Body& body) {
  const int64_t step = tile_rows(vocab);
  for (int64_t first = begin; first < end; first += step) body(first, std::min(step, end - first));
}

class WindowScorer {
 public:
  WindowScorer(const std::vector<Lane>& lanes, const std::vector<LaneRunner>& runners,
               const Window& window, std::span<const int32_t> ids)
      : lanes_(lanes),
        runners_(runners),
        window_(window),
        ids_(ids),
        hidden_size_(lanes[0].model->config().hidden),
        vocab_(lanes[0].model->config().vocab) {}

  void score_rows(const std::vector<const float*>& hidden, std::vector<LaneScores>& scores) const {
    const auto tile = static_cast<size_t>(tile_rows(vocab_) * vocab_);
    std::vector<std::vector<float>> logits(lanes_.size(), std::vector<float>(tile));
    for_each_tile(window_.first_row, window_.compare_end, vocab_, [&](int64_t first, int64_t rows) {
      for (size_t lane = 0; lane < lanes_.size(); ++lane) {
        runners_[lane].logits(hidden[lane] + first * hidden_size_, rows, logits[lane].data());
      }
      score_tile(first, rows, logits, scores);
    });
  }

  // `top` holds the lane's own top tokens of the compared rows.
  DraftCounts drafts(size_t lane, const float* hidden, const int32_t* top) const {
    DraftCounts counts;
    std::vector<float> rows(hidden, hidden + window_.length * hidden_size_);
    std::vector<uint8_t> chain(static_cast<size_t>(window_.compared()), 1);
    for (int64_t depth = 1; depth <= kDraftDepths && depth < window_.length; ++depth) {
      const auto next = ids_.subspan(static_cast<size_t>(depth));
      std::vector<float> out(next.size() * static_cast<size_t>(hidden_size_));
      runners_[lane].mtp_forward(next, rows.data(), out.data());
      // The draft of row r is the token after row r + depth's own; both must be compared rows.
      const std::vector<int32_t> drafted =
          top_tokens(lane, out, window_.first_row, window_.compare_end - depth);
      for (size_t row = 0; row < drafted.size(); ++row) {
        const bool hit = drafted[row] == top[row + static_cast<size_t>(depth)];
        chain[row] = hit ? chain[row] : uint8_t{0};
        const auto index = static_cast<size_t>(depth - 1);
        ++counts.rows[index];
        counts.hits[index] += hit;
        counts.chains[index] += chain[row];
      }
      rows = std::move(out);
    }
    return counts;
  }

 private:
  std::span<const float> row(const std::vector<float>& tile, int64_t index) const {
    return std::span(tile).subspan(static_cast<size_t>(index * vocab_),
                                   static_cast<size_t>(vocab_));
  }

  void score_tile(int64_t first, int64_t rows, const std::vector<std::vector<float>>& logits,
                  std::vector<LaneScores>& scores) const {
    const auto n = static_cast<size_t>(rows);
    std::vector<double> reference(n);
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      std::vector<double> partition(n), divergence(n);
      std::vector<int32_t> top(n);
      parallel_for(runners_[lane].threads(), n, [&](size_t r, int) {
        const auto own = row(logits[lane], static_cast<int64_t>(r));
        partition[r] = log_partition(own);
        top[r] = top_token(own);
        if (lane > 0) {
          divergence[r] = kl_divergence(row(logits[0], static_cast<int64_t>(r)), reference[r], own,
                                        partition[r]);
        }
      });
      if (lane == 0) reference = partition;
      LaneScores& into = scores[lane];
      into.top.insert(into.top.end(), top.begin(), top.end());
      if (lane > 0)
        into.divergence.insert(into.divergence.end(), divergence.begin(), divergence.end());
      for (int64_t r = 0; r < rows && first + r < window_.target_end; ++r) {
        const auto target = static_cast<size_t>(ids_[static_cast<size_t>(first + r + 1)]);
        into.nll.push_back(partition[static_cast<size_t>(r)] -
                           double{row(logits[lane], r)[target]});
      }
    }
  }

  std::vector<int32_t> top_tokens(size_t lane, const std::vector<float>& hidden, int64_t begin,
                                  int64_t end) const {
    std::vector<int32_t> top;
    std::vector<float> logits(static_cast<size_t>(tile_rows(vocab_) * vocab_));
    for_each_tile(begin, end, vocab_, [&](int64_t first, int64_t rows) {
      runners_[lane].logits(hidden.data() + first * hidden_size_, rows, logits.data());
      const size_t before = top.size();
      top.resize(before + static_cast<size_t>(rows));
      parallel_for(runners_[lane].threads(), static_cast<size_t>(rows), [&](size_t r, int) {
        top[before + r] = top_token(row(logits, static_cast<int64_t>(r)));
      });
    });
    return top;
  }

  const std::vector<Lane>& lanes_;
  const std::vector<LaneRunner>& runners_;
  const Window& window_;
  std::span<const int32_t> ids_;
  int64_t hidden_size_, vocab_;
};

}  // namespace

void score_window(const std::vector<Lane>& lanes, const std::vector<LaneRunner>& runners,
                  const Window& window, std::span<const int32_t> ids,
                  const std::vector<const float*>& hidden, std::vector<LaneScores>& scores) {
  const WindowScorer scorer(lanes, runners, window, ids);
  std::vector<size_t> top_begin(lanes.size());
  for (size_t lane = 0; lane < lanes.size(); ++lane) top_begin[lane] = scores[lane].top.size();
  scorer.score_rows(hidden, scores);
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    if (!lanes[lane].drafts || !lanes[lane].model->has_mtp()) continue;
    scores[lane].drafts.push_back(
        scorer.drafts(lane, hidden[lane], scores[lane].top.data() + top_begin[lane]));
  }
}

}  // namespace qround::eval
