#include "ops/causal_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace qround::ops::ref {

void causal_attention(const CausalAttentionArgs& args, const OpContext& context) {
  const int64_t dim = args.head_dim, group = args.heads / args.kv_heads;
  Workspace::Scope scope(context.workspace);
  const auto scores = scope.take<float>(static_cast<size_t>(args.context));
  for (int64_t t = 0; t < args.tokens; ++t) {
    const int64_t visible = args.context - args.tokens + t + 1;
    for (int64_t head = 0; head < args.heads; ++head) {
      const float* q = args.q + (t * args.heads + head) * dim;
      const int64_t head_offset = head / group * dim;
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t s = 0; s < visible; ++s) {
        const float* key = keys_at(args, s) + head_offset;
        float dot = 0;
        for (int64_t d = 0; d < dim; ++d) dot += q[d] * key[d];
        scores[s] = dot * args.scale;
        largest = std::max(largest, scores[s]);
      }
      float total = 0;
      for (int64_t s = 0; s < visible; ++s) total += scores[s] = std::exp(scores[s] - largest);
      float* out = args.out + (t * args.heads + head) * dim;
      std::fill(out, out + dim, 0.0f);
      for (int64_t s = 0; s < visible; ++s) {
        const float* value = values_at(args, s) + head_offset;
        for (int64_t d = 0; d < dim; ++d) out[d] += scores[s] / total * value[d];
      }
    }
  }
}

}  // namespace qround::ops::ref
