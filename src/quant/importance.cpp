#include "quant/importance.h"

#include <algorithm>

namespace qround::quant {
namespace {

// Of the mean over all inputs, added to each.
constexpr double kFloor = 1e-3;

}  // namespace

Importance::Importance(const std::vector<TunedLinear>& linears, TokenWeight token_weight)
    : token_weight_(token_weight) {
  for (const TunedLinear& linear : linears) {
    sums_.push_back({linear.id, 0, std::vector<double>(static_cast<size_t>(linear.weight.k)), {}});
  }
}

void Importance::add(const LinearInputs& inputs, const Executor& executor) {
  const auto is_read = [&](const Sums& sums) {
    return std::find(inputs.linears.begin(), inputs.linears.end(), sums.id) != inputs.linears.end();
  };
  const auto first = std::find_if(sums_.begin(), sums_.end(), is_read);
  if (first == sums_.end()) return;
  const bool weighted = token_weight_ == TokenWeight::routing;
  ops::Buffer<double> of_columns(*executor.ops.memory, inputs.k);
  executor.ops.column_squares({.x = inputs.x,
                               .weights = weighted ? inputs.weights : nullptr,
                               .squares = of_columns.data(),
                               .rows = inputs.rows,
                               .k = inputs.k},
                              executor.context);
  const std::vector<double> squares = of_columns.to_vector(executor.context.stream);
  for (auto sums = first; sums != sums_.end(); ++sums) {
    if (!is_read(*sums)) continue;
    sums->tokens += inputs.rows;
    for (size_t column = 0; column < squares.size(); ++column)
      sums->squares[column] += squares[column];
  }
}

void Importance::finish() {
  for (Sums& sums : sums_) {
    if (sums.tokens == 0) continue;
    double total = 0;
    for (const double square : sums.squares) total += square;
    const double floor = kFloor * total / static_cast<double>(sums.squares.size());
    for (const double square : sums.squares)
      sums.mean_square.push_back(
          static_cast<float>((square + floor) / static_cast<double>(sums.tokens)));
  }
}

std::vector<int64_t> Importance::expert_tokens() const {
  std::vector<int64_t> tokens;
  for (const Sums& sums : sums_) {
    if (sums.id.role != Role::expert_gate) continue;
    const auto expert = static_cast<size_t>(sums.id.expert);
    if (tokens.size() <= expert) tokens.resize(expert + 1);
    tokens[expert] = sums.tokens;
  }
  return tokens;
}

const float* Importance::of(size_t linear_idx) const {
  const Sums& sums = sums_[linear_idx];
  return sums.mean_square.empty() ? nullptr : sums.mean_square.data();
}

void visit_calibration_inputs(const ModelConfig& config, const BlockWeights& weights,
                              const CalibrationInputs& inputs, const LinearInputVisitor& visit,
                              const Executor& executor) {
  const ops::Memory& memory = *executor.ops.memory;
  const TrainingBatch& batch = inputs.batch;
  const int64_t floats = batch.length * config.hidden;
  ops::Buffer<float> x(memory, batch.sequences * floats), y(memory, batch.sequences * floats);
  for (int64_t first = 0; first < inputs.samples; first += batch.sequences) {
    const int64_t count = std::min(batch.sequences, inputs.samples - first);
    for (int64_t i = 0; i < count; ++i)
      inputs.store.load(first + i, floats, x.data() + i * floats, executor);
    BlockTraining pass(config, mixer_kind(weights), {count, batch.length}, memory);
    pass.forward(weights, x.data(), y.data(), executor);
    visit_linear_inputs(config, weights, pass, x.data(), visit, executor);
  }
}

Importance measure_importance(const ModelConfig& config, const BlockWeights& weights,
                              const std::vector<TunedLinear>& linears, const SampleStore& inputs,
                              TrainingBatch batch, TokenWeight token_weight,
                              const Executor& executor) {
  Importance importance(linears, token_weight);
  visit_calibration_inputs(
      config, weights, {inputs, inputs.samples(), batch},
      [&](const LinearInputs& seen) { importance.add(seen, executor); }, executor);
  importance.finish();
  return importance;
}

}  // namespace qround::quant
