#include "ops/weight_gradient.h"

namespace qround::ops {

void deliver(const WeightGradientSink& sink, const WeightGradientTile& tile,
             SignRoundStepFunction* step, SignRoundFunction* round, const OpContext& context) {
  if (sink.update == nullptr) return (*sink.consume)(tile);
  const SignRoundUpdate& update = *sink.update;
  const SignRoundTarget& target = update.targets[static_cast<size_t>(tile.matrix)];
  SignRoundRows rows = target.rows;
  rows.begin = tile.row_begin;
  rows.end = tile.row_end;
  step(target.weight, update.rule, rows, {tile.values, *update.sizes}, context);
  round(target.weight, update.rule, rows, target.result, context);
}

}  // namespace qround::ops
