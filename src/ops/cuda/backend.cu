#include <string>

#include "ops/backend.h"
#include "ops/cuda/graphs.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/memory.h"
#include "ops/cuda/missing.h"

namespace qround::ops::cuda {
namespace {

constexpr OpTable kTable = {
    .name = kBackendName,
    .memory = &kDeviceMemory,
    .graphs = &kGraphs,
    .linear = linear,
    .dequantize_rows = dequantize_rows,
    .zero_centered_rms_norm = zero_centered_rms_norm,
    .gated_rms_norm = gated_rms_norm,
    .l2_norm = l2_norm,
    .rotary_embedding = rotary_embedding,
    .causal_attention = causal_attention,
    .causal_conv1d_silu = causal_conv1d_silu,
    .delta_rule_gates = delta_rule_gates,
    .gated_delta_rule = gated_delta_rule,
    .route = route,
    .group_by_expert = group_by_expert,
    .experts = experts,
    .swiglu = swiglu,
    .sigmoid_gate = sigmoid_gate,
    .add = add,
    .copy_rows = copy_rows,
    .gather_rows = gather_rows,
    .column_squares = column_squares,
    .embed = embed,
    .largest_in_rows = largest_in_rows,
    .store_keys_values = store_keys_values,
    .sequence_attention = sequence_attention,
    .sequence_convolution = sequence_convolution,
    .sequence_delta_rule = sequence_delta_rule,
    .linear_backward_input = linear_backward_input,
    .weight_gradient_tiles = weight_gradient_tiles,
    .zero_centered_rms_norm_backward = zero_centered_rms_norm_backward,
    .gated_rms_norm_backward = gated_rms_norm_backward,
    .l2_norm_backward = l2_norm_backward,
    .rotary_embedding_backward = rotary_embedding_backward,
    .causal_attention_backward = causal_attention_backward,
    .causal_conv1d_silu_backward = causal_conv1d_silu_backward,
    .delta_rule_gates_backward = delta_rule_gates_backward,
    .gated_delta_rule_backward = gated_delta_rule_backward,
    .route_backward = route_backward,
    .grouped_experts = grouped_experts,
    .grouped_experts_backward = grouped_experts_backward,
    .swiglu_backward = swiglu_backward,
    .sigmoid_gate_backward = sigmoid_gate_backward,
    .squared_error = squared_error,
    .rounded_values = rounded_values,
    .sign_round = sign_round,
    .sign_round_step = sign_round_step,
    .note_loss = note_loss,
    .keep_rounding = keep_rounding,
    .quantize_rtn = quantize_rtn,
    .search_rtn = search_rtn,
    .round_with_feedback = round_with_feedback,
};

constexpr int kOldestArchitecture = 80;

Stream rehearsal_stream{.is_rehearsal = true};  // never changed

}  // namespace

Backend backend() {
  Backend backend{.name = kBackendName,
                  .description = "NVIDIA GPUs",
                  .table = &kTable,
                  .only_by_name = kBackendName != "cuda",
                  .rehearsal = &rehearsal_stream};
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess || devices == 0) {
    backend.unusable_because = found == cudaSuccess ? "no GPU" : cudaGetErrorString(found);
    return backend;
  }
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  backend.description = std::string(device.name) + ", " +
                        std::to_string(device.totalGlobalMem >> 30) + " GiB, sm_" +
                        std::to_string(device.major) + std::to_string(device.minor);
  if (10 * device.major + device.minor < kOldestArchitecture)
    backend.unusable_because = backend.description + " is older than sm_80";
  return backend;
}

}  // namespace qround::ops::cuda
