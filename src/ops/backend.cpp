#include "ops/backend.h"

#include "base/error.h"

namespace qround::ops {
namespace {

constexpr OpTable kRefTable = {
    .name = "ref",
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
    .experts = ref::experts,
    .swiglu = ref::swiglu,
    .sigmoid_gate = ref::sigmoid_gate,
};

constexpr OpTable make_cpu_table() {
  OpTable table = kRefTable;
  table.name = "cpu";
  return table;
}

constexpr OpTable kCpuTable = make_cpu_table();

}  // namespace

std::vector<Backend> backends() {
  return {
      {"cpu", "vector instructions and BLAS", "", &kCpuTable},
      {"ref", "the definition: scalar, one thread, slow", "", &kRefTable},
  };
}

const OpTable& select_backend(std::string_view wanted) {
  std::string known;
  for (const Backend& backend : backends()) {
    const bool usable = backend.unusable_because.empty();
    if (wanted.empty() ? usable : wanted == backend.name) {
      if (usable) return *backend.table;
      throw Error("backend " + std::string(wanted) + " cannot run here")
          .actual(backend.unusable_because);
    }
    known += (known.empty() ? "" : ", ") + std::string(backend.name);
  }
  throw Error("unknown backend").expected(known).actual(wanted);
}

}  // namespace qround::ops
