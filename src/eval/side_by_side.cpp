#include "eval/side_by_side.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/error.h"
#include "eval/block_pages.h"
#include "eval/lane_runner.h"
#include "eval/state_file.h"
#include "eval/window_scoring.h"

namespace qround::eval {
namespace {

// Rows of one forward pass through a block: enough that experts get many rows each, few enough that
// the scratch memory of the widest networks stays at some hundred megabytes.
constexpr int64_t kBatchTokens = 2048;

void put(const LaneScores& scores, StateWriter& writer) {
  writer.put(scores.nll);
  writer.put(scores.divergence);
  writer.put(scores.top);
  writer.put(scores.drafts);
  for (const LayerScores& layer : scores.layers) {
    writer.put(std::vector<double>{layer.error_squared, layer.reference_squared});
    writer.put(std::vector<int64_t>{layer.rows, layer.rerouted, layer.replaced});
    writer.put(layer.expert_rows);
  }
}

// `scores` has its layers already.
void get(StateReader& reader, LaneScores& scores) {
  reader.get(scores.nll);
  reader.get(scores.divergence);
  reader.get(scores.top);
  reader.get(scores.drafts);
  for (LayerScores& layer : scores.layers) {
    std::vector<double> sums;
    std::vector<int64_t> counts;
    reader.get(sums);
    reader.get(counts);
    layer.error_squared = sums.at(0);
    layer.reference_squared = sums.at(1);
    layer.rows = counts.at(0);
    layer.rerouted = counts.at(1);
    layer.replaced = counts.at(2);
    reader.get(layer.expert_rows);
  }
}

class SideBySide {
 public:
  SideBySide(const std::vector<Lane>& lanes, const WindowedText& text,
             const SideBySideOptions& options)
      : lanes_(lanes),
        text_(text),
        options_(options),
        config_(lanes[0].model->config()),
        scores_(lanes.size()),
        hidden_(lanes.size()) {
    for (const Lane& lane : lanes) {
      runners_.emplace_back(lane, options.backend, options.threads, devices_);
      for (const Model* model : {lane.model.get(), lane.donor.get()})
        if (model != nullptr) pages_.try_emplace(model, *model);
    }
    for (LaneScores& scores : scores_) scores.layers.resize(config_.mixers.size());
  }

  std::vector<LaneScores> run() {
    start_progress();
    const bool resumed = take_up_state();
    if (!resumed) begin_pass(0);
    while (first_ < text_.windows.size()) {
      while (blocks_done_ < n_blocks()) {
        run_block(blocks_done_++);
        keep_state();
      }
      score_pass();
      begin_pass(end_);
    }
    if (options_.progress != nullptr) options_.progress->finish();
    std::error_code absent;
    if (!options_.state_file.empty()) std::filesystem::remove(options_.state_file, absent);
    return std::move(scores_);
  }

 private:
  int64_t n_blocks() const { return static_cast<int64_t>(config_.mixers.size()); }

  void start_progress() const {
    if (options_.progress == nullptr) return;
    const auto steps = static_cast<uint64_t>(n_blocks()) * lanes_.size() + 1;
    options_.progress->start("eval", steps * text_.windows.size(), Progress::Unit::items);
  }
  void advance(size_t n_windows) const {
    if (options_.progress != nullptr) options_.progress->advance(n_windows);
    if (options_.stop != nullptr && options_.stop->load()) {
      if (options_.progress != nullptr) options_.progress->cancel();
      throw Error("interrupted", ErrorKind::interrupted);
    }
  }

  // Offset of a window's hidden states in the pass's buffers, in floats.
  size_t offset(size_t window) const {
    const int64_t first = text_.windows[first_].begin;
    return static_cast<size_t>((text_.windows[window].begin - first) * config_.hidden);
  }

  // Writes the state after a block, unless it was written a short while ago.
  void keep_state() {
    const auto now = std::chrono::steady_clock::now();
    if (options_.state_file.empty() ||
        std::chrono::duration<double>(now - state_kept_).count() < options_.state_seconds)
      return;
    StateWriter writer(options_.state_file, options_.state_key);
    for (const int64_t number :
         {static_cast<int64_t>(first_), static_cast<int64_t>(end_), blocks_done_})
      writer.put_number(number);
    for (const std::vector<float>& hidden : hidden_) writer.put(hidden);
    for (const LaneScores& scores : scores_) put(scores, writer);
    writer.finish();
    state_kept_ = std::chrono::steady_clock::now();
  }

  // Returns whether there was one.
  bool take_up_state() {
    if (options_.state_file.empty()) return false;
    auto reader = StateReader::open(options_.state_file, options_.state_key);
    if (!reader) return false;
    first_ = static_cast<size_t>(reader->get_number());
    end_ = static_cast<size_t>(reader->get_number());
    blocks_done_ = reader->get_number();
    for (std::vector<float>& hidden : hidden_) reader->get(hidden);
    for (LaneScores& scores : scores_) get(*reader, scores);
    if (options_.progress != nullptr) {
      const auto lanes = static_cast<uint64_t>(lanes_.size());
      options_.progress->advance(first_ * (static_cast<uint64_t>(n_blocks()) * lanes + 1) +
                                 (end_ - first_) * static_cast<uint64_t>(blocks_done_) * lanes);
      options_.progress->line("continuing the work of an earlier run");
    }
    return true;
  }

  // Windows [first_, end_): as many as the budget holds, at least one. Hidden states start as
  // embeddings.
  void begin_pass(size_t first) {
    const uint64_t token_bytes =
        static_cast<uint64_t>(config_.hidden) * sizeof(float) * lanes_.size();
    uint64_t bytes = 0;
    first_ = end_ = first;
    blocks_done_ = 0;
    while (end_ < text_.windows.size()) {
      bytes += static_cast<uint64_t>(text_.windows[end_].length) * token_bytes;
      if (bytes > options_.memory_bytes && end_ > first_) break;
      ++end_;
    }
    if (first_ == end_) return;
    const Window& last = text_.windows[end_ - 1];
    const int64_t begin = text_.windows[first_].begin;
    const auto tokens = static_cast<size_t>(last.begin + last.length - begin);
    const auto ids = std::span(text_.tokens).subspan(static_cast<size_t>(begin), tokens);
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      hidden_[lane].resize(tokens * static_cast<size_t>(config_.hidden));
      lanes_[lane].model->embed(ids, hidden_[lane].data());
    }
  }

  void run_block(int64_t block) {
    for (const auto& [model, pages] : pages_) pages.prefetch(block + 1);
    std::vector<std::vector<int32_t>> choices(lanes_.size());
    for (size_t lane = 0; lane < lanes_.size(); ++lane) run_lane(lane, block, choices[lane]);
    for (const auto& [model, pages] : pages_) pages.release(block);
    for (size_t lane = 0; lane < lanes_.size(); ++lane)
      compare_layer(choices[0], choices[lane], hidden_[lane],
                    scores_[lane].layers[static_cast<size_t>(block)]);
  }

  void run_lane(size_t lane, int64_t block, std::vector<int32_t>& choices) {
    LaneRunner& runner = runners_[lane];
    runner.load_block(block);
    const RouteObserver collect = [&](std::span<const int32_t> experts) {
      choices.insert(choices.end(), experts.begin(), experts.end());
    };
    for (size_t begin = first_; begin < end_;) {
      const size_t end = batch_end(begin);
      std::vector<int64_t> lengths;
      for (size_t window = begin; window < end; ++window)
        lengths.push_back(text_.windows[window].length);
      runner.block_forward(lengths, hidden_[lane].data() + offset(begin), collect);
      advance(end - begin);
      begin = end;
    }
  }

  // Windows [begin, end) that share a forward pass: at most kBatchTokens tokens, at least one
  // window, within the pass.
  size_t batch_end(size_t begin) const {
    int64_t tokens = 0;
    size_t end = begin;
    while (end < end_) {
      tokens += text_.windows[end].length;
      if (tokens > kBatchTokens && end > begin) break;
      ++end;
    }
    return end;
  }

  // Adds the pass's windows to a layer's sums, in order of windows. Choices are [tokens, A] of the
  // pass, or empty where the layer has no mixture.
  void compare_layer(const std::vector<int32_t>& reference_choices,
                     const std::vector<int32_t>& choices, const std::vector<float>& hidden,
                     LayerScores& sums) const {
    std::vector<LayerScores> parts(end_ - first_);
    parallel_for(options_.threads, parts.size(), [&](size_t index, int) {
      const Window& window = text_.windows[first_ + index];
      LayerScores& part = parts[index];
      part.rows = window.compared();
      const auto width = static_cast<size_t>(config_.hidden);
      const size_t begin = offset(first_ + index) + static_cast<size_t>(window.first_row) * width;
      for (size_t i = begin; i < begin + static_cast<size_t>(window.compared()) * width; ++i) {
        const double reference = hidden_[0][i], error = hidden[i] - reference;
        part.reference_squared += reference * reference;
        part.error_squared += error * error;
      }
      if (!choices.empty()) compare_choices(reference_choices, choices, begin / width, part);
    });
    for (const LayerScores& part : parts) add(part, sums);
  }

  // Rows [token, token + part.rows) of the pass.
  void compare_choices(const std::vector<int32_t>& reference, const std::vector<int32_t>& choices,
                       size_t token, LayerScores& part) const {
    const auto chosen = static_cast<size_t>(config_.moe->chosen);
    part.expert_rows.resize(static_cast<size_t>(config_.moe->experts));
    for (size_t row = token; row < token + static_cast<size_t>(part.rows); ++row) {
      const auto ours = std::span(choices).subspan(row * chosen, chosen);
      const auto theirs = std::span(reference).subspan(row * chosen, chosen);
      const auto fresh = std::count_if(ours.begin(), ours.end(), [&](int32_t expert) {
        return std::find(theirs.begin(), theirs.end(), expert) == theirs.end();
      });
      part.replaced += fresh;
      part.rerouted += fresh > 0;
      for (const int32_t expert : ours) ++part.expert_rows[static_cast<size_t>(expert)];
    }
  }

  static void add(const LayerScores& part, LayerScores& sums) {
    sums.error_squared += part.error_squared;
    sums.reference_squared += part.reference_squared;
    sums.rows += part.rows;
    sums.rerouted += part.rerouted;
    sums.replaced += part.replaced;
    sums.expert_rows.resize(part.expert_rows.size());
    for (size_t expert = 0; expert < part.expert_rows.size(); ++expert)
      sums.expert_rows[expert] += part.expert_rows[expert];
  }

  void score_pass() {
    for (size_t index = first_; index < end_; ++index) {
      const Window& window = text_.windows[index];
      std::vector<const float*> final_hidden;
      for (size_t lane = 0; lane < lanes_.size(); ++lane) {
        float* hidden = hidden_[lane].data() + offset(index);
        runners_[lane].normalize(window.length, hidden);
        final_hidden.push_back(hidden);
      }
      score_window(lanes_, runners_, window, text_.ids(window), final_hidden, scores_);
      advance(1);
    }
  }

  const std::vector<Lane>& lanes_;
  const WindowedText& text_;
  const SideBySideOptions& options_;
  const ModelConfig& config_;
  LaneDevices devices_;
  std::vector<LaneRunner> runners_;
  std::map<const Model*, BlockPages> pages_;
  std::vector<LaneScores> scores_;
  size_t first_ = 0, end_ = 0;  // windows of the pass
  int64_t blocks_done_ = 0;     // of the pass
  std::chrono::steady_clock::time_point state_kept_ = std::chrono::steady_clock::now();
  std::vector<std::vector<float>> hidden_;  // [lane][tokens of the pass, H]
};

}  // namespace

std::vector<LaneScores> run_side_by_side(const std::vector<Lane>& lanes, const WindowedText& text,
                                         const SideBySideOptions& options) {
  return SideBySide(lanes, text, options).run();
}

}  // namespace qround::eval
