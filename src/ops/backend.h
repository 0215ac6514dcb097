// A backend is a complete table of operations with a name. It starts as a copy of `ref` and
// replaces what it does better, so that everything always runs.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/causal_attention.h"
#include "ops/causal_conv1d.h"
#include "ops/error_feedback.h"
#include "ops/gated_delta_rule.h"
#include "ops/gating.h"
#include "ops/graphs.h"
#include "ops/kept_rounding.h"
#include "ops/linear.h"
#include "ops/memory.h"
#include "ops/mixture_of_experts.h"
#include "ops/packed_codes.h"
#include "ops/quantize_rtn.h"
#include "ops/rms_norm.h"
#include "ops/rotary_embedding.h"
#include "ops/rows.h"
#include "ops/search_rtn.h"
#include "ops/sequences.h"
#include "ops/sign_round.h"
#include "ops/squared_error.h"
#include "ops/weight_gradient.h"

namespace qround::ops {

struct OpTable {
  std::string_view name;
  const Memory* memory;  // where all operands lie
  const Graphs* graphs;  // null: nothing is gained by recording
  LinearFunction* linear;
  DequantizeRowsFunction* dequantize_rows;
  ZeroCenteredRmsNormFunction* zero_centered_rms_norm;
  GatedRmsNormFunction* gated_rms_norm;
  L2NormFunction* l2_norm;
  RotaryEmbeddingFunction* rotary_embedding;
  CausalAttentionFunction* causal_attention;
  CausalConv1dSiluFunction* causal_conv1d_silu;
  DeltaRuleGatesFunction* delta_rule_gates;
  GatedDeltaRuleFunction* gated_delta_rule;
  RouteFunction* route;
  GroupByExpertFunction* group_by_expert;
  ExpertsFunction* experts;
  SwigluFunction* swiglu;
  SigmoidGateFunction* sigmoid_gate;
  AddFunction* add;
  CopyRowsFunction* copy_rows;
  GatherRowsFunction* gather_rows;
  ColumnSquaresFunction* column_squares;
  EmbedFunction* embed;
  LargestInRowsFunction* largest_in_rows;
  // Of all sequences of a batch.
  StoreKeysValuesFunction* store_keys_values;
  SequenceAttentionFunction* sequence_attention;
  SequenceConvolutionFunction* sequence_convolution;
  SequenceDeltaRuleFunction* sequence_delta_rule;
  // Gradients, and the forward pass that keeps what they need.
  LinearBackwardInputFunction* linear_backward_input;
  WeightGradientTilesFunction* weight_gradient_tiles;
  ZeroCenteredRmsNormBackwardFunction* zero_centered_rms_norm_backward;
  GatedRmsNormBackwardFunction* gated_rms_norm_backward;
  L2NormBackwardFunction* l2_norm_backward;
  RotaryEmbeddingBackwardFunction* rotary_embedding_backward;
  CausalAttentionBackwardFunction* causal_attention_backward;
  CausalConv1dSiluBackwardFunction* causal_conv1d_silu_backward;
  DeltaRuleGatesBackwardFunction* delta_rule_gates_backward;
  GatedDeltaRuleBackwardFunction* gated_delta_rule_backward;
  RouteBackwardFunction* route_backward;
  GroupedExpertsFunction* grouped_experts;
  GroupedExpertsBackwardFunction* grouped_experts_backward;
  SwigluBackwardFunction* swiglu_backward;
  SigmoidGateBackwardFunction* sigmoid_gate_backward;
  // Learned rounding.
  SquaredErrorFunction* squared_error;
  RoundedValuesFunction* rounded_values;
  SignRoundFunction* sign_round;
  SignRoundStepFunction* sign_round_step;
  NoteLossFunction* note_loss;
  KeepRoundingFunction* keep_rounding;
  QuantizeRtnFunction* quantize_rtn;
  SearchRtnFunction* search_rtn;
  RoundWithFeedbackFunction* round_with_feedback;
};

struct Backend {
  std::string_view name;  // "cuda", "cpu", "ref"
  std::string description;
  std::string unusable_because;  // empty: it runs here
  const OpTable* table = nullptr;
  bool only_by_name = false;  // never chosen when none was named
  // Of a backend with memory of its own: a stream on which operations take their scratch but
  // enqueue nothing, here even where the backend itself cannot run (ops/rehearsal.h).
  Stream* rehearsal = nullptr;
};

namespace cuda {
// Of the CUDA library this program is linked with: the real one, tests/cuda_emulation, or
// cuda_absent.cpp.
Backend backend();
}  // namespace cuda

// Best first.
std::vector<Backend> backends();

// The table named `wanted`, or the best one when `wanted` is empty. Throws Error for an unknown
// name or one that cannot run here, listing what there is.
const OpTable& select_backend(std::string_view wanted);

// The best one whose operands lie in host memory.
const OpTable& select_host_backend();
// `table` if its operands do, or that one.
const OpTable& host_backend_beside(const OpTable& table);

// Whether Activations::bf16 is quicker than f32 here.
bool has_fast_bf16(const OpTable& table);

// The vector instructions the fast kernels run with on this machine, for example "AVX3_BF16".
std::string simd_target();

// Those this machine has, best first, and the choice of one (empty: the best again) for tests and
// comparisons. Not while kernels run. Throws Error for a name that is not among them.
std::vector<std::string> simd_targets();
void force_simd_target(std::string_view name);

}  // namespace qround::ops
