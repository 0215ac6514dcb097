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
  std::vector<float> alpha, beta, scales;
};

// Searched scales, as factors, and the scales that sign_round makes of them.
MapStart start_of_scales(const RoundingState& state, size_t linear_idx,
                         const Importance& importance, ops::ScaleGrid grid,
                         const ops::OpTable& ops) {
  const ops::DenseWeight& weight = state.linears()[linear_idx].weight;
  const int64_t group = state.group_size(), groups = weight.k / group;
  MapStart start;
  start.v.resize(static_cast<size_t>(weight.n * weight.k));
  std::vector<uint8_t> codes(static_cast<size_t>(kRows * weight.k));
  std::vector<uint16_t> scales(static_cast<size_t>(kRows * groups));
  std::vector<float> w(codes.size());
  for (int64_t begin = 0; begin < weight.n; begin += kRows) {
    const int64_t end = std::min(weight.n, begin + kRows);
    ops.search_rtn(weight, {.begin = begin,
                            .end = end,
                            .group_size = group,
                            .grid = grid,
                            .importance = importance.of(linear_idx),
                            .codes = codes.data(),
                            .scales = scales.data()});
    ops.dequantize_rows(weight, begin, end, w.data());
    for (int64_t i = 0; i < (end - begin) * groups; ++i) {
      const auto [low, high] =
          std::minmax_element(w.data() + i * group, w.data() + (i + 1) * group);
      const ops::GroupRange range{std::min(*low, 0.0f), std::max(*high, 0.0f)};
      const RangeFactors factors = factors_of_scale(
          range, f16_to_f32(scales[static_cast<size_t>(i)]), state.rule().max_factor);
      start.alpha.push_back(factors.alpha);
      start.beta.push_back(factors.beta);
      start.scales.push_back(
          f16_to_f32(ops::sign_round_scale(range, factors.alpha, factors.beta, state.rule())));
    }
  }
  return start;
}

void add_feedback(const RoundingState& state, size_t linear_idx, const FeedbackFactor& factor,
                  int16_t most_units, const ops::OpTable& ops, MapStart& start) {
  const ops::DenseWeight& weight = state.linears()[linear_idx].weight;
  std::vector<float> w(static_cast<size_t>(kRows * weight.k));
  for (int64_t begin = 0; begin < weight.n; begin += kRows) {
    const int64_t end = std::min(weight.n, begin + kRows);
    ops.dequantize_rows(weight, begin, end, w.data());
    round_with_feedback(factor,
                        {.rows = end - begin,
                         .group_size = state.group_size(),
                         .weights = w.data(),
                         .scales = start.scales.data() + begin * weight.k / state.group_size(),
                         .v_unit = state.rule().v_unit,
                         .most_units = most_units,
                         .v = start.v.data() + begin * weight.k});
  }
}

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

void start_from_feedback(const ModelConfig& config, const BlockWeights& weights,
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
  const ops::OpTable& ops =
      executor.ops.memory->is_host ? executor.ops : ops::select_host_backend();
  const Threads threads = executor.context.threads;
  const auto start_maps = [&](const std::vector<size_t>& maps, const FeedbackFactor* factor) {
    parallel_for(threads, maps.size(), [&](size_t i, int) {
      MapStart start = start_of_scales(state, maps[i], known.importance, recipe.grid, ops);
      if (factor != nullptr)
        add_feedback(state, maps[i], *factor, recipe.most_start_units(), ops, start);
      state.start(maps[i], start.v.data(), start.alpha.data(), start.beta.data());
    });
  };
  std::vector<uint8_t> is_reached(state.linears().size());
  for (const SharedProducts& set : known.products.sets()) {
    for (const size_t map : set.linears) is_reached[map] = 1;
    const FeedbackFactor factor(set.sums, set.k, set.tokens, threads);
    start_maps(set.linears, &factor);
  }
  std::vector<size_t> others;
  for (size_t i = 0; i < is_reached.size(); ++i)
    if (is_reached[i] == 0) others.push_back(i);
  start_maps(others, nullptr);
  state.refresh();
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
