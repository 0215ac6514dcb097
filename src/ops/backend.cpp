#include "ops/backend.h"

#include "base/error.h"
#include "ops/cpu/simd_target.h"
#include "ops/each_sequence.h"

namespace qround::ops {
namespace {

constexpr OpTable kRefTable = {
    .name = "ref",
    .memory = &kHostMemory,
    .graphs = nullptr,
    .linear = ref::linear,
    .dequantize_rows = ref::dequantize_rows,
    .zero_centered_rms_norm = ref::zero_centered_rms_norm,
    .gated_rms_norm = ref::gated_rms_norm,
    .l2_norm = ref::l2_norm,
    .rotary_embedding = ref::rotary_embedding,
    .causal_attention = ref::causal_attention,
    .causal_conv1d_silu = ref::causal_conv1d_silu,
    .delta_rule_gates = ref::delta_rule_gates,
    .gated_delta_rule = ref::gated_delta_rule,
    .route = ref::route,
    .group_by_expert = ref::group_by_expert,
    .experts = ref::experts,
    .swiglu = ref::swiglu,
    .sigmoid_gate = ref::sigmoid_gate,
    .add = ref::add,
    .copy_rows = ref::copy_rows,
    .gather_rows = ref::gather_rows,
    .column_squares = ref::column_squares,
    .embed = ref::embed,
    .largest_in_rows = ref::largest_in_rows,
    .store_keys_values = store_each,
    .sequence_attention = attend_each<ref::causal_attention>,
    .sequence_convolution = convolve_each<ref::causal_conv1d_silu>,
    .sequence_delta_rule = delta_rule_each<ref::gated_delta_rule>,
    .linear_backward_input = ref::linear_backward_input,
    .weight_gradient_tiles = ref::weight_gradient_tiles,
    .zero_centered_rms_norm_backward = ref::zero_centered_rms_norm_backward,
    .gated_rms_norm_backward = ref::gated_rms_norm_backward,
    .l2_norm_backward = ref::l2_norm_backward,
    .rotary_embedding_backward = ref::rotary_embedding_backward,
    .causal_attention_backward = ref::causal_attention_backward,
    .causal_conv1d_silu_backward = ref::causal_conv1d_silu_backward,
    .delta_rule_gates_backward = ref::delta_rule_gates_backward,
    .gated_delta_rule_backward = ref::gated_delta_rule_backward,
    .route_backward = ref::route_backward,
    .grouped_experts = ref::grouped_experts,
    .grouped_experts_backward = ref::grouped_experts_backward,
    .swiglu_backward = ref::swiglu_backward,
    .sigmoid_gate_backward = ref::sigmoid_gate_backward,
    .squared_error = ref::squared_error,
    .rounded_values = ref::rounded_values,
    .sign_round = ref::sign_round,
    .sign_round_step = ref::sign_round_step,
    .note_loss = ref::note_loss,
    .keep_rounding = ref::keep_rounding,
    .quantize_rtn = ref::quantize_rtn,
    .search_rtn = ref::search_rtn,
    .round_with_feedback = ref::round_with_feedback,
};

constexpr OpTable make_cpu_table() {
  OpTable table = kRefTable;
  table.name = "cpu";
  table.linear = cpu::linear;
  table.dequantize_rows = cpu::dequantize_rows;
  table.zero_centered_rms_norm = cpu::zero_centered_rms_norm;
  table.gated_rms_norm = cpu::gated_rms_norm;
  table.l2_norm = cpu::l2_norm;
  table.rotary_embedding = cpu::rotary_embedding;
  table.causal_attention = cpu::causal_attention;
  table.causal_conv1d_silu = cpu::causal_conv1d_silu;
  table.delta_rule_gates = cpu::delta_rule_gates;
  table.gated_delta_rule = cpu::gated_delta_rule;
  table.route = cpu::route;
  table.experts = cpu::experts;
  table.swiglu = cpu::swiglu;
  table.sigmoid_gate = cpu::sigmoid_gate;
  table.linear_backward_input = cpu::linear_backward_input;
  table.weight_gradient_tiles = cpu::weight_gradient_tiles;
  table.zero_centered_rms_norm_backward = cpu::zero_centered_rms_norm_backward;
  table.gated_rms_norm_backward = cpu::gated_rms_norm_backward;
  table.l2_norm_backward = cpu::l2_norm_backward;
  table.rotary_embedding_backward = cpu::rotary_embedding_backward;
  table.causal_attention_backward = cpu::causal_attention_backward;
  table.causal_conv1d_silu_backward = cpu::causal_conv1d_silu_backward;
  table.delta_rule_gates_backward = cpu::delta_rule_gates_backward;
  table.gated_delta_rule_backward = cpu::gated_delta_rule_backward;
  table.route_backward = cpu::route_backward;
  table.grouped_experts = cpu::grouped_experts;
  table.grouped_experts_backward = cpu::grouped_experts_backward;
  table.swiglu_backward = cpu::swiglu_backward;
  table.sigmoid_gate_backward = cpu::sigmoid_gate_backward;
  table.add = cpu::add;
  table.copy_rows = cpu::copy_rows;
  table.gather_rows = cpu::gather_rows;
  table.column_squares = cpu::column_squares;
  table.embed = cpu::embed;
  table.largest_in_rows = cpu::largest_in_rows;
  table.sequence_attention = attend_each<cpu::causal_attention>;
  table.sequence_convolution = convolve_each<cpu::causal_conv1d_silu>;
  table.sequence_delta_rule = delta_rule_each<cpu::gated_delta_rule>;
  table.squared_error = cpu::squared_error;
  table.rounded_values = cpu::rounded_values;
  table.sign_round = cpu::sign_round;
  table.sign_round_step = cpu::sign_round_step;
  table.keep_rounding = cpu::keep_rounding;
  table.quantize_rtn = cpu::quantize_rtn;
  table.search_rtn = cpu::search_rtn;
  table.round_with_feedback = cpu::round_with_feedback;
  return table;
}

constexpr OpTable kCpuTable = make_cpu_table();

}  // namespace

std::vector<Backend> backends() {
  return {
      cuda::backend(),
      {"cpu", "vector instructions, all threads", "", &kCpuTable},
      {"ref", "the definition: scalar, one thread, slow", "", &kRefTable},
  };
}

const OpTable& select_backend(std::string_view wanted) {
  std::string known;
  for (const Backend& backend : backends()) {
    const bool usable = backend.unusable_because.empty();
    if (wanted.empty() ? usable && !backend.only_by_name : wanted == backend.name) {
      if (usable) return *backend.table;
      throw Error("backend " + std::string(wanted) + " cannot run here")
          .actual(backend.unusable_because);
    }
    known += (known.empty() ? "" : ", ") + std::string(backend.name);
  }
  throw Error("unknown backend").expected(known).actual(wanted);
}

const OpTable& select_host_backend() {
  for (const Backend& backend : backends()) {
    if (backend.unusable_because.empty() && !backend.only_by_name && backend.table->memory->is_host)
      return *backend.table;
  }
  throw Error("no backend on this machine");
}

const OpTable& host_backend_beside(const OpTable& table) {
  return table.memory->is_host ? table : select_host_backend();
}

bool has_fast_bf16(const OpTable& table) {
  return !table.memory->is_host || (&table == &kCpuTable && cpu::uses_avx512_bf16());
}

}  // namespace qround::ops
