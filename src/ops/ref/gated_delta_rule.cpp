#include "ops/gated_delta_rule.h"

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
  const int64_t heads_per_key = args.value_heads / args.key_heads;
  Workspace::Scope scope(context.workspace);
  const auto d = scope.take<float>(static_cast<size_t>(args.value_dim));
  for (int64_t t = 0; t < args.tokens; ++t)
    for (int64_t head = 0; head < args.value_heads; ++head) {
      const int64_t gate = t * args.value_heads + head;
      const int64_t key_offset = head / heads_per_key * args.key_dim;
      delta_rule_step(args.q + t * args.q_stride + key_offset,
                      args.k + t * args.k_stride + key_offset,
                      args.v + t * args.v_stride + head * args.value_dim,
                      std::exp(args.log_decay[gate]), args.beta[gate], args.key_dim, args.value_dim,
                      args.state + head * args.key_dim * args.value_dim, d.data(),
                      args.out + gate * args.value_dim);
    }
}

}  // namespace qround::ops::ref
