// With P the probabilities of a query: dV = Pᵀ do, dP_s = do · v_s, dscore_s = P_s (dP_s - Σ P dP).
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/causal_attention.h"

namespace qround::ops::ref {
namespace {

float dot(const float* a, const float* b, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(const float* x, float factor, int64_t count, float* sum) {
  for (int64_t i = 0; i < count; ++i) sum[i] += factor * x[i];
}

// Probabilities of a query over the first `visible` keys, `stride` floats apart.
void probabilities(const float* q, const float* keys, int64_t visible, int64_t stride, int64_t dim,
                   float scale, float* p) {
  float largest = -std::numeric_limits<float>::infinity(), total = 0;
  for (int64_t s = 0; s < visible; ++s) {
    p[s] = dot(q, keys + s * stride, dim) * scale;
    largest = std::max(largest, p[s]);
  }
  for (int64_t s = 0; s < visible; ++s) total += p[s] = std::exp(p[s] - largest);
  for (int64_t s = 0; s < visible; ++s) p[s] /= total;
}

}  // namespace

void causal_attention_backward(const CausalAttentionBackwardArgs& args, const OpContext& context) {
  const int64_t dim = args.head_dim, group = args.heads / args.kv_heads;
  const int64_t kv_stride = args.kv_heads * dim, length = args.sequences * args.tokens;
  Workspace::Scope scope(context.workspace);
  const auto p = scope.take<float>(static_cast<size_t>(args.tokens));
  const auto dp = scope.take<float>(static_cast<size_t>(args.tokens));
  std::fill(args.dq, args.dq + length * args.heads * dim, 0.0f);
  std::fill(args.d_keys, args.d_keys + length * kv_stride, 0.0f);
  std::fill(args.d_values, args.d_values + length * kv_stride, 0.0f);
  for (int64_t row = 0; row < length; ++row)
    for (int64_t head = 0; head < args.heads; ++head) {
      const int64_t visible = row % args.tokens + 1;
      const int64_t query = (row * args.heads + head) * dim;
      const int64_t first = (row - visible + 1) * kv_stride + head / group * dim;
      probabilities(args.q + query, args.keys + first, visible, kv_stride, dim, args.scale,
                    p.data());
      for (int64_t s = 0; s < visible; ++s)
        dp[s] = dot(args.d_out + query, args.values + first + s * kv_stride, dim);
      const float mean = dot(p.data(), dp.data(), visible);
      for (int64_t s = 0; s < visible; ++s) {
        const int64_t key = first + s * kv_stride;
        const float d_score = p[s] * (dp[s] - mean) * args.scale;
        add_scaled(args.d_out + query, p[s], dim, args.d_values + key);
        add_scaled(args.keys + key, d_score, dim, args.dq + query);
        add_scaled(args.q + query, d_score, dim, args.d_keys + key);
      }
    }
}

}  // namespace qround::ops::ref
