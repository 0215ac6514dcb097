// The derivative of the recurrence, token by token from the last to the first, with every state of
// the forward pass at hand.
#include <algorithm>
#include <cmath>
#include <span>

#include "ops/gated_delta_rule.h"

namespace qround::ops::ref {
namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

// Where one value head of one sequence lies in the operands.
struct Head {
  const GatedDeltaRuleBackwardArgs& args;
  int64_t first_row, head;

  int64_t key_head() const { return head / (args.value_heads / args.key_heads); }
  int64_t gate(int64_t t) const { return (first_row + t) * args.value_heads + head; }
  int64_t in_keys(int64_t t, int64_t stride) const {
    return (first_row + t) * stride + key_head() * args.key_dim;
  }
  int64_t in_values(int64_t t, int64_t stride) const {
    return (first_row + t) * stride + head * args.value_dim;
  }
};

// states [T + 1, Dk, Dv]: before the first token, after each; corrections [T, Dv]: v - Sᵀk.
void forward(const Head& h, std::span<float> states, std::span<float> corrections) {
  const GatedDeltaRuleBackwardArgs& args = h.args;
  const int64_t dk = args.key_dim, dv = args.value_dim, size = dk * dv;
  std::fill(states.begin(), states.begin() + size, 0.0f);
  for (int64_t t = 0; t < args.tokens; ++t) {
    const float* before = states.data() + t * size;
    float* after = states.data() + (t + 1) * size;
    const float* k = args.k + h.in_keys(t, args.k_stride);
    const float* v = args.v + h.in_values(t, args.v_stride);
    float* correction = corrections.data() + t * dv;
    const float decay = std::exp(args.log_decay[h.gate(t)]), beta = args.beta[h.gate(t)];
    std::copy(v, v + dv, correction);
    for (int64_t i = 0; i < dk; ++i)
      for (int64_t j = 0; j < dv; ++j) {
        after[i * dv + j] = decay * before[i * dv + j];
        correction[j] -= after[i * dv + j] * k[i];
      }
    for (int64_t i = 0; i < dk; ++i)
      for (int64_t j = 0; j < dv; ++j) after[i * dv + j] += k[i] * beta * correction[j];
  }
}

// One token: `ds` is dL/dS after the token on entry, before it on return. dd is scratch [Dv].
void step_backward(const Head& h, int64_t t, const float* states, const float* correction,
                   float* ds, float* dd) {
  const GatedDeltaRuleBackwardArgs& args = h.args;
  const int64_t dk = args.key_dim, dv = args.value_dim, size = dk * dv;
  const float* before = states + t * size;
  const float* after = before + size;
  const float* q = args.q + h.in_keys(t, args.q_stride);
  const float* k = args.k + h.in_keys(t, args.k_stride);
  const float* d_out = args.d_out + h.gate(t) * dv;
  float* d_query = args.dq + h.in_keys(t, args.dq_stride);
  float* d_key = args.dk + h.in_keys(t, args.dk_stride);
  float* d_value = args.dv + h.in_values(t, args.dv_stride);
  const float decay = std::exp(args.log_decay[h.gate(t)]), beta = args.beta[h.gate(t)];

  for (int64_t i = 0; i < dk; ++i)
    for (int64_t j = 0; j < dv; ++j) {
      d_query[i] += after[i * dv + j] * d_out[j];
      ds[i * dv + j] += q[i] * d_out[j];
    }
  std::fill(dd, dd + dv, 0.0f);
  for (int64_t i = 0; i < dk; ++i)
    for (int64_t j = 0; j < dv; ++j) {
      dd[j] += ds[i * dv + j] * k[i];
      d_key[i] += ds[i * dv + j] * beta * correction[j];
    }
  float d_beta = 0, d_decay = 0;
  for (int64_t j = 0; j < dv; ++j) {
    d_beta += dd[j] * correction[j];
    d_value[j] = beta * dd[j];
  }
  for (int64_t i = 0; i < dk; ++i)
    for (int64_t j = 0; j < dv; ++j) {
      d_key[i] -= decay * before[i * dv + j] * beta * dd[j];
      ds[i * dv + j] -= k[i] * beta * dd[j];
      d_decay += ds[i * dv + j] * before[i * dv + j];
      ds[i * dv + j] *= decay;
    }
  args.d_beta[h.gate(t)] = d_beta;
  args.d_log_decay[h.gate(t)] = decay * d_decay;
}

}  // namespace

void delta_rule_gates_backward(const DeltaRuleGatesBackwardArgs& args, const OpContext&) {
  for (int64_t t = 0; t < args.tokens; ++t)
    for (int64_t head = 0; head < args.value_heads; ++head) {
      const int64_t i = t * args.value_heads + head;
      const float x = args.a[i] + args.dt_bias[head], rate = -std::exp(args.a_log[head]);
      const float beta = sigmoid(args.b[i]), d_log_decay = args.d_log_decay[i];
      const float da = d_log_decay * rate * (x > 20.0f ? 1.0f : sigmoid(x));
      if (args.d_a_log != nullptr) args.d_a_log[head] += d_log_decay * rate * softplus(x);
      if (args.d_dt_bias != nullptr) args.d_dt_bias[head] += da;
      args.db[i] = args.d_beta[i] * beta * (1.0f - beta);
      args.da[i] = da;
    }
}

void gated_delta_rule_backward(const GatedDeltaRuleBackwardArgs& args, const OpContext& context) {
  const int64_t dv = args.value_dim, size = args.key_dim * dv, tokens = args.tokens;
  Workspace::Scope scope(context.workspace);
  const auto states = scope.take<float>(static_cast<size_t>((tokens + 1) * size));
  const auto corrections = scope.take<float>(static_cast<size_t>(tokens * dv));
  const auto ds = scope.take<float>(static_cast<size_t>(size));
  const auto dd = scope.take<float>(static_cast<size_t>(dv));
  const int64_t key_width = args.key_heads * args.key_dim;
  for (int64_t row = 0; row < args.sequences * tokens; ++row) {
    std::fill_n(args.dq + row * args.dq_stride, key_width, 0.0f);
    std::fill_n(args.dk + row * args.dk_stride, key_width, 0.0f);
  }
  for (int64_t sequence = 0; sequence < args.sequences; ++sequence)
    for (int64_t head = 0; head < args.value_heads; ++head) {
      const Head h{args, sequence * tokens, head};
      forward(h, states, corrections);
      std::fill(ds.begin(), ds.end(), 0.0f);
      for (int64_t t = tokens - 1; t >= 0; --t)
        step_backward(h, t, states.data(), corrections.data() + t * dv, ds.data(), dd.data());
    }
}

}  // namespace qround::ops::ref
