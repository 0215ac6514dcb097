#include "ops/gated_delta_rule.h"

#include <algorithm>
#include <cmath>

namespace qround::ops::ref {
namespace {

float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

// One token of one head. state [Dk, Dv]; d [Dv] is scratch for the corrected value.
void delta_rule_step(const float* q, const float* k, const float* v, float decay, float beta,
                     int64_t key_dim, int64_t value_dim, float* state, float* d, float* out) {
  for (int64_t i = 0; i < key_dim * value_dim; ++i) state[i] *= decay;
  for (int64_t j = 0; j < value_dim; ++j) {
    float memory = 0;
    for (int64_t i = 0; i < key_dim; ++i) memory += state[i * value_dim + j] * k[i];
    d[j] = beta * (v[j] - memory);
  }
  for (int64_t i = 0; i < key_dim; ++i)
    for (int64_t j = 0; j < value_dim; ++j) state[i * value_dim + j] += k[i] * d[j];
  for (int64_t j = 0; j < value_dim; ++j) {
    float sum = 0;
    for (int64_t i = 0; i < key_dim; ++i) sum += state[i * value_dim + j] * q[i];
    out[j] = sum;
  }
}

// S <- decay S + k changeᵀ of one head, for all tokens of `before`.
void apply_updates(const GatedDeltaRuleArgs& args, int64_t head, int64_t key_offset) {
  const DeltaRuleUpdates& before = args.before;
  float* state = args.state + head * args.key_dim * args.value_dim;
  for (int64_t p = 0; p < before.tokens; ++p) {
    const float* k = before.k + p * args.key_heads * args.key_dim + key_offset;
    const float* change = before.change + (p * args.value_heads + head) * args.value_dim;
    const float decay = before.decay[p * args.value_heads + head];
    for (int64_t i = 0; i < args.key_dim; ++i)
      for (int64_t j = 0; j < args.value_dim; ++j) {
        float& s = state[i * args.value_dim + j];
        s = s * decay + k[i] * change[j];
      }
  }
}

}  // namespace

void delta_rule_gates(const DeltaRuleGateArgs& args, const OpContext&) {
  for (int64_t t = 0; t < args.tokens; ++t)
    for (int64_t head = 0; head < args.value_heads; ++head) {
      const int64_t i = t * args.value_heads + head;
      args.log_decay[i] = -std::exp(args.a_log[head]) * softplus(args.a[i] + args.dt_bias[head]);
      args.beta[i] = 1.0f / (1.0f + std::exp(-args.b[i]));
    }
}

void gated_delta_rule(const GatedDeltaRuleArgs& args, const OpContext& context) {
  for (int64_t sequence = 0; args.sequences > 1 && sequence < args.sequences; ++sequence)
    gated_delta_rule(sequence_of(args, sequence), context);
  if (args.sequences > 1) return;
  const int64_t heads_per_key = args.value_heads / args.key_heads;
  const int64_t state_floats = args.key_dim * args.value_dim;
  Workspace::Scope scope(context.workspace);
  const auto d = scope.take<float>(static_cast<size_t>(args.value_dim));
  const auto tentative = scope.take<float>(static_cast<size_t>(state_floats));
  for (int64_t head = 0; head < args.value_heads; ++head) {
    const int64_t key_offset = head / heads_per_key * args.key_dim;
    apply_updates(args, head, key_offset);
    float* state = args.state + head * state_floats;
    if (args.change != nullptr) {
      std::copy_n(state, state_floats, tentative.data());
      state = tentative.data();
    }
    for (int64_t t = 0; t < args.tokens; ++t) {
      const int64_t gate = t * args.value_heads + head;
      const float decay = std::exp(args.log_decay[gate]);
      delta_rule_step(
          args.q + t * args.q_stride + key_offset, args.k + t * args.k_stride + key_offset,
          args.v + t * args.v_stride + head * args.value_dim, decay, args.beta[gate], args.key_dim,
          args.value_dim, state, d.data(), args.out + gate * args.value_dim);
      if (args.change == nullptr) continue;
      std::copy_n(d.data(), args.value_dim, args.change + gate * args.value_dim);
      args.decay[gate] = decay;
    }
  }
}

}  // namespace qround::ops::ref
