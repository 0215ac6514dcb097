#include "eval/figures.h"

#include <algorithm>
#include <cmath>

namespace qround::eval {
namespace {

constexpr double kBinsPerDecade = 4;
constexpr double kHistogramBegin = -10;  // power of ten

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

// Sums per window of values that stand window after window.
template <typename Value, typename RowsOf>
std::vector<WindowSum> window_sums(const std::vector<Window>& windows, const RowsOf& rows_of,
                                   const Value& value) {
  std::vector<WindowSum> sums;
  size_t row = 0;
  for (const Window& window : windows) {
    WindowSum sum{0, rows_of(window)};
    for (int64_t i = 0; i < sum.rows; ++i) sum.sum += value(row++);
    sums.push_back(sum);
  }
  return sums;
}

int64_t targets_of(const Window& window) { return window.targets(); }
int64_t compared_of(const Window& window) { return window.compared(); }

size_t histogram_bin(double divergence) {
  if (!(divergence > 0)) return 0;
  const double bin = std::floor((std::log10(divergence) - kHistogramBegin) * kBinsPerDecade);
  return static_cast<size_t>(std::clamp(bin, 0.0, double{kHistogramBins - 1}));
}

Divergence divergence_of(const LaneScores& scores, const LaneScores& reference,
                         const std::vector<Window>& windows) {
  Divergence d;
  d.rows = static_cast<int64_t>(scores.divergence.size());
  d.mean = mean_divergence(scores, windows);
  std::vector<double> sorted = scores.divergence;
  std::sort(sorted.begin(), sorted.end());
  d.median = quantile(sorted, 0.5);
  d.p90 = quantile(sorted, 0.9);
  d.p99 = quantile(sorted, 0.99);
  d.p999 = quantile(sorted, 0.999);
  d.max = sorted.back();
  const auto agrees = [&](size_t row) { return scores.top[row] == reference.top[row] ? 1.0 : 0.0; };
  for (size_t row = 0; row < scores.top.size(); ++row) d.top_differs += agrees(row) == 0;
  d.top_agreement = window_mean(window_sums(windows, compared_of, agrees));
  d.perplexity_ratio = exponential(window_mean(window_sums(
      windows, targets_of, [&](size_t row) { return scores.nll[row] - reference.nll[row]; })));
  d.histogram.resize(kHistogramBins);
  for (const double value : scores.divergence) ++d.histogram[histogram_bin(value)];
  return d;
}

DraftFigures drafts_of(const std::vector<DraftCounts>& windows, size_t depth) {
  DraftFigures figures;
  std::vector<WindowSum> hits, chains;
  for (const DraftCounts& window : windows) {
    figures.rows += window.rows[depth];
    figures.hits += window.hits[depth];
    figures.chains += window.chains[depth];
    hits.push_back({static_cast<double>(window.hits[depth]), window.rows[depth]});
    chains.push_back({static_cast<double>(window.chains[depth]), window.rows[depth]});
  }
  figures.agreement = window_mean(hits);
  figures.chain = window_mean(chains);
  return figures;
}

LayerFigures layer_of(const LayerScores& scores) {
  LayerFigures figures;
  if (scores.reference_squared > 0)
    figures.relative_error = std::sqrt(scores.error_squared / scores.reference_squared);
  figures.rerouted = share(scores.rerouted, scores.rows);
  int64_t choices = 0;
  for (const int64_t rows : scores.expert_rows) choices += rows;
  figures.replaced = share(scores.replaced, choices);
  figures.expert_rows = scores.expert_rows;
  return figures;
}

template <typename T>
Json numbers(const std::vector<T>& values) {
  Json::Array array;
  for (const T& value : values) array.emplace_back(value);
  return Json(std::move(array));
}

Json to_json(const Divergence& d) {
  return Json::object({{"mean", to_json(d.mean)},
                       {"median", d.median},
                       {"p90", d.p90},
                       {"p99", d.p99},
                       {"p99_9", d.p999},
                       {"max", d.max},
                       {"rows", d.rows},
                       {"histogram", Json::object({{"first_power_of_ten", kHistogramBegin},
                                                   {"bins_per_power", kBinsPerDecade},
                                                   {"rows", numbers(d.histogram)}})}});
}

Json to_json(const DraftFigures& d, size_t depth) {
  return Json::object({{"depth", static_cast<int64_t>(depth)},
                       {"rows", d.rows},
                       {"hits", d.hits},
                       {"agreement", to_json(d.agreement)},
                       {"chain", to_json(d.chain)}});
}

Json to_json(const LayerFigures& layer, bool compared) {
  Json json = Json::object();
  if (compared) {
    json.set("relative_error", layer.relative_error);
    if (!layer.expert_rows.empty()) {
      json.set("rerouted", layer.rerouted);
      json.set("replaced", layer.replaced);
    }
  }
  if (!layer.expert_rows.empty()) json.set("expert_rows", numbers(layer.expert_rows));
  return json;
}

}  // namespace

LaneFigures figures_of(const std::string& name, const LaneScores& scores,
                       const LaneScores& reference, bool is_reference,
                       const std::vector<Window>& windows) {
  LaneFigures figures;
  figures.name = name;
  figures.targets = static_cast<int64_t>(scores.nll.size());
  figures.perplexity = exponential(
      window_mean(window_sums(windows, targets_of, [&](size_t row) { return scores.nll[row]; })));
  if (!is_reference) {
    figures.divergence = divergence_of(scores, reference, windows);
    for (const WindowSum& sum :
         window_sums(windows, compared_of, [&](size_t row) { return scores.divergence[row]; }))
      figures.window_divergence.push_back(sum.rows > 0 ? sum.sum / static_cast<double>(sum.rows)
                                                       : 0);
  }
  if (!scores.drafts.empty())
    for (size_t depth = 0; depth < kDraftDepths; ++depth)
      figures.drafts.push_back(drafts_of(scores.drafts, depth));
  for (const LayerScores& layer : scores.layers) figures.layers.push_back(layer_of(layer));
  return figures;
}

Estimate mean_divergence(const LaneScores& scores, const std::vector<Window>& windows) {
  return window_mean(
      window_sums(windows, compared_of, [&](size_t row) { return scores.divergence[row]; }));
}

Estimate divergence_difference(const LaneScores& a, const LaneScores& b,
                               const std::vector<Window>& windows) {
  return window_mean(window_sums(
      windows, compared_of, [&](size_t row) { return a.divergence[row] - b.divergence[row]; }));
}

Json to_json(const LaneFigures& figures) {
  Json json = Json::object({{"name", figures.name},
                            {"targets", figures.targets},
                            {"perplexity", to_json(figures.perplexity)}});
  const bool compared = figures.divergence.has_value();
  if (compared) {
    const Divergence& d = *figures.divergence;
    json.set("perplexity_ratio", to_json(d.perplexity_ratio));
    json.set("kl_divergence", to_json(d));
    json.set("top_agreement", to_json(d.top_agreement));
    json.set("top_differs", d.top_differs);
  }
  if (!figures.drafts.empty()) {
    Json::Array drafts;
    for (size_t i = 0; i < figures.drafts.size(); ++i)
      drafts.push_back(to_json(figures.drafts[i], i + 1));
    json.set("mtp_teacher_forced", Json(std::move(drafts)));
  }
  Json::Array layers;
  for (const LayerFigures& layer : figures.layers) layers.push_back(to_json(layer, compared));
  json.set("layers", Json(std::move(layers)));
  if (compared) json.set("window_kl_divergence", numbers(figures.window_divergence));
  return json;
}

}  // namespace qround::eval
