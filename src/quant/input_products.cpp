#include "quant/input_products.h"

#include <algorithm>

namespace qround::quant {
namespace {

// The map whose inputs stand for those of `id`.
LinearId representative(LinearId id) {
  const bool outer = id.role == Role::expert_gate || id.role == Role::expert_up;
  return outer ? LinearId{Role::router} : id;
}

}  // namespace

void InputProducts::add(const LinearInputs& inputs, const Executor& executor) {
  std::vector<size_t> readers;
  for (size_t i = 0; i < linears_.size(); ++i) {
    const LinearId id = representative(linears_[i].id);
    if (std::find(inputs.linears.begin(), inputs.linears.end(), id) != inputs.linears.end())
      readers.push_back(i);
  }
  if (readers.empty()) return;
  auto set = std::find_if(sets_.begin(), sets_.end(), [&](const SharedProducts& candidate) {
    return candidate.linears == readers;
  });
  if (set == sets_.end()) {
    std::vector<float> zeros(static_cast<size_t>(inputs.k * inputs.k));
    set = sets_.insert(sets_.end(), {std::move(readers), inputs.k, 0, std::move(zeros)});
  }
  set->tokens += inputs.rows;
  const ops::WeightGradientJob product{.x = inputs.x,
                                       .dy = inputs.x,
                                       .rows = inputs.rows,
                                       .n = inputs.k,
                                       .k = inputs.k,
                                       .x_stride = inputs.k,
                                       .dy_stride = inputs.k};
  const ops::WeightGradientConsumer consume = [&](const ops::WeightGradientTile& tile) {
    float* sums = set->sums.data() + tile.row_begin * tile.k;
    for (int64_t i = 0; i < (tile.row_end - tile.row_begin) * tile.k; ++i)
      sums[i] += tile.values[i];
  };
  executor.ops.weight_gradient_tiles({&product, 1}, {.consume = &consume}, executor.context);
}

uint64_t InputProducts::bytes(const ModelConfig& config) {
  const auto square = [](int64_t k) { return static_cast<uint64_t>(k * k) * sizeof(float); };
  const int64_t mixer =
      std::max(config.attention.heads * config.attention.head_dim, config.delta_net.value_width());
  const uint64_t inner =
      config.moe ? static_cast<uint64_t>(config.moe->experts) * square(config.moe->expert_width) +
                       square(config.moe->shared_width)
                 : square(config.dense_width);
  return 2 * square(config.hidden) + square(mixer) + inner;
}

}  // namespace qround::quant
