#include "ops/cuda/activation.h"
#include "ops/cuda/elements.h"
#include "ops/cuda/reduce.h"
#include "ops/gated_delta_rule.h"

namespace qround::ops::cuda {
namespace {

__device__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

__global__ void gate_elements(DeltaRuleGateArgs args) {
  const int64_t i = element_index();
  if (i >= args.tokens * args.value_heads) return;
  const int64_t head = i % args.value_heads;
  args.log_decay[i] = -expf(args.a_log[head]) * softplus(args.a[i] + args.dt_bias[head]);
  args.beta[i] = sigmoid(args.b[i]);
}

// Gradients of a_log and dt_bias: a block per head.
__global__ void head_sums(DeltaRuleGatesBackwardArgs args) {
  const int64_t head = blockIdx.x;
  const float rate = -expf(args.a_log[head]);
  float of_a_log = 0, of_dt_bias = 0;
  for (int64_t t = threadIdx.x; t < args.tokens; t += kElementBlock) {
    const int64_t i = t * args.value_heads + head;
    const float x = args.a[i] + args.dt_bias[head];
    of_a_log += args.d_log_decay[i] * rate * softplus(x);
    of_dt_bias += args.d_log_decay[i] * rate * (x > 20.0f ? 1.0f : sigmoid(x));
  }
  of_a_log = block_sum<kElementBlock>(of_a_log);
  of_dt_bias = block_sum<kElementBlock>(of_dt_bias);
  if (threadIdx.x != 0) return;
  if (args.d_a_log != nullptr) args.d_a_log[head] += of_a_log;
  if (args.d_dt_bias != nullptr) args.d_dt_bias[head] += of_dt_bias;
}

__global__ void gate_elements_backward(DeltaRuleGatesBackwardArgs args) {
  const int64_t i = element_index();
  if (i >= args.tokens * args.value_heads) return;
  const int64_t head = i % args.value_heads;
  const float x = args.a[i] + args.dt_bias[head], rate = -expf(args.a_log[head]);
  const float beta = sigmoid(args.b[i]), d_log_decay = args.d_log_decay[i];
  args.db[i] = args.d_beta[i] * beta * (1.0f - beta);
  args.da[i] = d_log_decay * rate * (x > 20.0f ? 1.0f : sigmoid(x));
}

}  // namespace

void delta_rule_gates(const DeltaRuleGateArgs& args, const OpContext& context) {
  launch_elements(gate_elements, args.tokens * args.value_heads, context.stream, args);
}

void delta_rule_gates_backward(const DeltaRuleGatesBackwardArgs& args, const OpContext& context) {
  if (args.d_a_log != nullptr || args.d_dt_bias != nullptr)
    launch(head_sums, dim3(static_cast<unsigned>(args.value_heads)), kElementBlock, 0,
           context.stream, args);
  launch_elements(gate_elements_backward, args.tokens * args.value_heads, context.stream, args);
}

}  // namespace qround::ops::cuda
