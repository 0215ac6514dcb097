#include <algorithm>
#include <functional>

#include "ops/rotary_embedding.h"

namespace qround::ops::cpu {

// Back by an angle is forward by its negative: cos and sin of -angle are exactly cos and -sin.
void rotary_embedding_backward(const RotaryArgs& args, const OpContext& context) {
  const int64_t half = args.rotary_dim / 2;
  Workspace::Scope scope(context.workspace);
  const auto negated = scope.take<float>(static_cast<size_t>(half));
  std::transform(args.inverse_frequencies, args.inverse_frequencies + half, negated.begin(),
                 std::negate<float>());
  RotaryArgs back = args;
  back.inverse_frequencies = negated.data();
  rotary_embedding(back, context);
}

}  // namespace qround::ops::cpu
