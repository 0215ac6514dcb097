#include "quant/starting_point.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "ops/resident_copy.h"
#include "ops/sign_round_scale.h"
#include "quant/feedback_factor.h"
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

// What a factor says, where a backend reads it.
struct ResidentFactor {
  ops::ResidentCopy<float> columns;
  ops::ResidentCopy<int32_t> order;

  ResidentFactor(const FeedbackFactor& factor, const Executor& executor)
      : columns(*executor.ops.memory, factor.columns(), executor.context.stream),
        order(*executor.ops.memory, factor.order(), executor.context.stream) {}
};

// The scales of a map and the factors they follow from.
struct MapScales {
  std::vector<float> alpha, beta, scales;  // [N, K / G]

  explicit MapScales(size_t groups) : alpha(groups), beta(groups), scales(groups) {}
};

class Starter {
 public:
  Starter(const Knowledge& known, const TuneRecipe& recipe, const Executor& executor,
          RoundingState& state)
      : known_(known), recipe_(recipe), executor_(executor), state_(state) {}

  // At searched scales, with error feedback where there is a factor.
  void start(const std::vector<size_t>& maps, const ResidentFactor* factor) {
    for (const size_t map : maps) {
      const MapScales found = scales_of(map);
      state_.set_factors(map, found.alpha.data(), found.beta.data());
      if (factor != nullptr) feed_back(map, found.scales, *factor);
    }
  }

 private:
  MapScales scales_of(size_t map) const {
    const ops::DenseWeight& weight = state_.linears()[map].weight;
    const int64_t group = state_.group_size(), groups = weight.k / group;
    const bool on_host = executor_.ops.memory->is_host;
    // A device searches the whole map, hosts search row by row.
    std::vector<uint16_t> searched;
    if (!on_host) searched = search(map, 0, weight.n);
    const ops::OpTable& host = ops::host_backend_beside(executor_.ops);
    MapScales result(static_cast<size_t>(weight.n * groups));
    parallel_for(executor_.context.threads, static_cast<size_t>((weight.n + kRows - 1) / kRows),
                 [&](size_t block, int) {
                   const int64_t begin = static_cast<int64_t>(block) * kRows;
                   const int64_t end = std::min(weight.n, begin + kRows);
                   std::vector<float> w(static_cast<size_t>((end - begin) * weight.k));
                   host.dequantize_rows(weight, begin, end, w.data());
                   std::vector<uint16_t> of_rows;
                   if (on_host) of_rows = search(map, begin, end);
                   const uint16_t* scales =
                       on_host ? of_rows.data() : searched.data() + begin * groups;
                   for (int64_t i = 0; i < (end - begin) * groups; ++i)
                     set_group(w.data() + i * group, f16_to_f32(scales[i]),
                               static_cast<size_t>(begin * groups + i), result);
                 });
    return result;
  }

  std::vector<uint16_t> search(size_t map, int64_t begin, int64_t end) const {
    return search_rows(state_, map, begin, end, known_.importance, recipe_.grid, executor_.ops)
        .scales;
  }

  // The factors of a searched scale, and the scale that sign_round makes of them.
  void set_group(const float* weights, float scale, size_t group, MapScales& result) const {
    const auto [low, high] = std::minmax_element(weights, weights + state_.group_size());
    const ops::GroupRange range{std::min(*low, 0.0f), std::max(*high, 0.0f)};
    const RangeFactors factors = factors_of_scale(range, scale, state_.rule().max_factor);
    result.alpha[group] = factors.alpha;
    result.beta[group] = factors.beta;
    result.scales[group] =
        f16_to_f32(ops::sign_round_scale(range, factors.alpha, factors.beta, state_.rule()));
  }

  void feed_back(size_t map, const std::vector<float>& scales, const ResidentFactor& factor) {
    const ops::ResidentCopy<float> resident(*executor_.ops.memory, scales,
                                            executor_.context.stream);
    executor_.ops.round_with_feedback({.weight = state_.resident_weight(map),
                                       .factor = factor.columns.data(),
                                       .order = factor.order.data(),
                                       .scales = resident.data(),
                                       .group_size = state_.group_size(),
                                       .v_unit = state_.rule().v_unit,
                                       .most_units = recipe_.most_start_units(),
                                       .v = state_.offsets(map)},
                                      executor_.context);
  }

  const Knowledge& known_;
  const TuneRecipe& recipe_;
  const Executor& executor_;
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
    const ResidentFactor resident(factor, executor);
    starter.start(set.linears, &resident);
  }
  std::vector<size_t> others;
  for (size_t i = 0; i < is_reached.size(); ++i)
    if (is_reached[i] == 0) others.push_back(i);
  starter.start(others, nullptr);
  state.refresh();
  return std::move(known.importance);
}

void rehearse_feedback(const RoundingState& state, const Executor& executor) {
  const ops::Memory& memory = *executor.ops.memory;
  for (const TunedLinear& linear : state.linears()) {
    const int64_t n = linear.weight.n, k = linear.weight.k, groups = n * k / state.group_size();
    const ops::Buffer<float> columns(memory, k * k);
    const ops::Buffer<int32_t> order(memory, k);
    {
      const ops::Buffer<float> importance(memory, k);
      const ops::Buffer<uint8_t> codes(memory, n * k);
      const ops::Buffer<uint16_t> searched(memory, groups);
    }
    const ops::Buffer<float> scales(memory, groups);
    executor.ops.round_with_feedback({.weight = linear.weight}, executor.context);
  }
}

uint64_t starting_point_bytes(const ModelConfig& config, uint64_t largest_map, int64_t group_size,
                              Threads threads) {
  const int64_t widest =
      std::max({config.hidden, config.attention.heads * config.attention.head_dim,
                config.delta_net.value_width()});
  const uint64_t scales = largest_map / static_cast<uint64_t>(group_size) * 3 * sizeof(float);
  // Rows in f32, their codes, and their errors.
  const auto of_rows = static_cast<uint64_t>(kRows * widest) * (2 * sizeof(float) + 1);
  return InputProducts::bytes(config) + FeedbackFactor::bytes(widest) + scales +
         static_cast<uint64_t>(std::max(threads.count, 1)) * of_rows;
}

}  // namespace qround::quant
