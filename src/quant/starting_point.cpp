#include "quant/starting_point.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "ops/sign_round_scale.h"
#include "quant/error_feedback.h"
#include "quant/input_products.h"
#include "quant/optimized_rtn.h"

namespace qround::quant {
namespace {

// Rows of a map taken together.
constexpr int64_t kRows = 64;

// What all maps are started from.
struct Knowledge {
  Importance importance;
  InputProducts products;
};

// Parameters of a map.
struct MapStart {
  std::vector<int16_t> v;
  std::vector<float> alpha, beta;
};

class Starter {
 public:
  Starter(const Knowledge& known, const TuneRecipe& recipe, const Executor& executor,
          RoundingState& state)
      : known_(known),
        recipe_(recipe),
        executor_(executor),
        host_(ops::host_backend_beside(executor.ops)),
        state_(state) {}

  // At searched scales, with error feedback where there is a factor.
  void start(const std::vector<size_t>& maps, const FeedbackFactor* factor) {
    // A device searches whole maps, one after the other; hosts search with the rest, row by row.
    std::vector<std::vector<uint16_t>> searched(maps.size());
    if (!executor_.ops.memory->is_host) {
      for (size_t i = 0; i < maps.size(); ++i)
        searched[i] = search(maps[i], 0, weight(maps[i]).n, executor_.ops);
    }
    parallel_for(executor_.context.threads, maps.size(), [&](size_t i, int) {
      const MapStart start = start_of(maps[i], searched[i], factor);
      state_.start(maps[i], start.v.data(), start.alpha.data(), start.beta.data());
    });
  }

 private:
  const ops::DenseWeight& weight(size_t map) const { return state_.linears()[map].weight; }

  std::vector<uint16_t> search(size_t map, int64_t begin, int64_t end,
                               const ops::OpTable& ops) const {
    return search_rows(state_, map, begin, end, known_.importance, recipe_.grid, ops).scales;
  }

  // `searched`: the map's scales, or none yet.
  MapStart start_of(size_t map, const std::vector<uint16_t>& searched,
                    const FeedbackFactor* factor) const {
    const int64_t n = weight(map).n, k = weight(map).k, group = state_.group_size();
    MapStart start;
    start.v.resize(static_cast<size_t>(n * k));
    std::vector<float> w(static_cast<size_t>(kRows * k)), scales;
    for (int64_t begin = 0; begin < n; begin += kRows) {
      const int64_t end = std::min(n, begin + kRows);
      host_.dequantize_rows(weight(map), begin, end, w.data());
      const std::vector<uint16_t> here =
          searched.empty() ? search(map, begin, end, host_)
                           : std::vector<uint16_t>(searched.begin() + begin * k / group,
                                                   searched.begin() + end * k / group);
      scales.clear();
      for (size_t i = 0; i < here.size(); ++i)
        scales.push_back(
            add_factors(w.data() + static_cast<int64_t>(i) * group, f16_to_f32(here[i]), start));
      if (factor == nullptr) continue;
      round_with_feedback(*factor, {.rows = end - begin,
                                    .group_size = group,
                                    .weights = w.data(),
                                    .scales = scales.data(),
                                    .v_unit = state_.rule().v_unit,
                                    .most_units = recipe_.most_start_units(),
                                    .v = start.v.data() + begin * k});
    }
    return start;
  }

  // Appends the factors of a group's scale; returns the scale that sign_round makes of them.
  float add_factors(const float* group, float scale, MapStart& start) const {
    const auto [low, high] = std::minmax_element(group, group + state_.group_size());
    const ops::GroupRange range{std::min(*low, 0.0f), std::max(*high, 0.0f)};
    const RangeFactors factors = factors_of_scale(range, scale, state_.rule().max_factor);
    start.alpha.push_back(factors.alpha);
    start.beta.push_back(factors.beta);
    return f16_to_f32(ops::sign_round_scale(range, factors.alpha, factors.beta, state_.rule()));
  }

  const Knowledge& known_;
  const TuneRecipe& recipe_;
  const Executor& executor_;
  const ops::OpTable& host_;
  RoundingState& state_;
};

}  // namespace

RangeFactors factors_of_scale(ops::GroupRange range, float scale, float max_factor) {
  // sign_round gives the scale the sign of its larger side: alpha's when positive.
  const float magnitude = 8 * std::abs(scale);
  const bool alphas =
      scale > 0 ? -range.low * max_factor >= magnitude : range.high * max_factor < magnitude;
  const float own = alphas ? -range.low : range.high, other = alphas ? range.high : -range.low;
  const float factor = own > 0 ? std::min(magnitude / own, max_factor) : 1.0f;
  const float of_other = other > 0 ? std::min(1.0f, 0.5f * factor * own / other) : 1.0f;
  return alphas ? RangeFactors{factor, of_other} : RangeFactors{of_other, factor};
}

Importance start_from_feedback(const ModelConfig& config, const BlockWeights& weights,
                               const CalibrationInputs& inputs, const TuneRecipe& recipe,
                               const Executor& executor, RoundingState& state) {
  Knowledge known{{state.linears(), recipe.token_weight}, InputProducts(state.linears())};
  visit_calibration_inputs(
      config, weights, inputs,
      [&](const LinearInputs& seen) {
        known.importance.add(seen, executor);
        known.products.add(seen, executor);
      },
      executor);
  known.importance.finish();
  Starter starter(known, recipe, executor, state);
  std::vector<uint8_t> is_reached(state.linears().size());
  for (const SharedProducts& set : known.products.sets()) {
    for (const size_t map : set.linears) is_reached[map] = 1;
    const FeedbackFactor factor(set.sums, set.k, set.tokens, executor.context.threads);
    starter.start(set.linears, &factor);
  }
  std::vector<size_t> others;
  for (size_t i = 0; i < is_reached.size(); ++i)
    if (is_reached[i] == 0) others.push_back(i);
  starter.start(others, nullptr);
  state.refresh();
  return std::move(known.importance);
}

uint64_t starting_point_bytes(const ModelConfig& config, uint64_t largest_map, Threads threads) {
  const int64_t widest =
      std::max({config.hidden, config.attention.heads * config.attention.head_dim,
                config.delta_net.value_width()});
  const auto n_threads = static_cast<uint64_t>(std::max(threads.count, 1));
  return InputProducts::bytes(config) + FeedbackFactor::bytes(widest) +
         n_threads * largest_map * sizeof(int16_t);
}

}  // namespace qround::quant
