#include "model/mtp_input.h"

namespace qround {

MtpInputWeights load_mtp_input(const Checkpoint& checkpoint, const TensorTable& table) {
  const auto values = [&](Role role) {
    return stored_values(checkpoint, *table.find(Part::mtp, -1, role));
  };
  return {.embedding_norm = values(Role::mtp_embedding_norm),
          .hidden_norm = values(Role::mtp_hidden_norm),
          .fc = stored_weight(checkpoint, *table.find(Part::mtp, -1, Role::mtp_fc))};
}

void mtp_input(const ModelConfig& config, const MtpInputWeights& weights, float* embedded,
               const float* hidden, int64_t tokens, float* out, const Executor& executor) {
  const int64_t h = config.hidden;
  const ops::RmsNormShape rows{tokens, h, config.norm_eps};
  ops::Workspace::Scope scope(executor.context.workspace);
  const auto normed = scope.take<float>(static_cast<size_t>(tokens * h));
  const auto joined = scope.take<float>(static_cast<size_t>(tokens * 2 * h));
  executor.ops.zero_centered_rms_norm(embedded, weights.embedding_norm.data(), rows, embedded,
                                      executor.context);
  executor.ops.zero_centered_rms_norm(hidden, weights.hidden_norm.data(), rows, normed.data(),
                                      executor.context);
  const auto put_beside = [&](const float* rows_of_one, int64_t column) {
    executor.ops.copy_rows({.x = rows_of_one,
                            .out = joined.data() + column,
                            .rows = tokens,
                            .width = h,
                            .x_stride = h,
                            .out_stride = 2 * h},
                           executor.context);
  };
  put_beside(embedded, 0);
  put_beside(normed.data(), h);
  executor.ops.linear(weights.fc, joined.data(), tokens, out, executor.context);
}

}  // namespace qround
