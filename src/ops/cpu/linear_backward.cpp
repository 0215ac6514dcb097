#include <algorithm>

#include "ops/cpu/input_gradient_share.h"
#include "ops/cpu/row_inputs.h"
#include "ops/linear.h"

namespace qround::ops::cpu {

void linear_backward_input(const Weight& weight, const LinearBackwardInputArgs& args,
                           const OpContext& context) {
  const int64_t n_outputs = outputs(weight), n_inputs = inputs(weight);
  const int64_t columns = (n_inputs + kInputShareWidth - 1) / kInputShareWidth;
  const int64_t row_blocks = (args.rows + kInputShareRows - 1) / kInputShareRows;
  Workspace::Scope scope(context.workspace);
  const auto scratch =
      scope.take<float>(kInputShareScratchFloats * static_cast<size_t>(context.threads.count));
  const RowInputs dy(scope, args.dy, args.rows, n_outputs, context, weight);
  const auto run = [&](size_t index, int worker) {
    const int64_t column = static_cast<int64_t>(index) / row_blocks * kInputShareWidth;
    const int64_t row = static_cast<int64_t>(index) % row_blocks * kInputShareRows;
    input_gradient_share({.weight = &weight,
                          .dy = dy.row(row),
                          .dy_pairs = dy.pairs_of_row(weight, row),
                          .dx = args.dx + row * n_inputs,
                          .rows = std::min(kInputShareRows, args.rows - row),
                          .begin = column,
                          .end = std::min(n_inputs, column + kInputShareWidth),
                          .add_to_dx = args.add_to_dx},
                         scratch.data() + kInputShareScratchFloats * static_cast<size_t>(worker));
  };
  parallel_for(context.threads, static_cast<size_t>(columns * row_blocks), run);
}

}  // namespace qround::ops::cpu
