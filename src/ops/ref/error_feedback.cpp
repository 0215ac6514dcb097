#include "ops/error_feedback.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/full_range_int4.h"
#include "ops/ref/weight_value.h"

namespace qround::ops::ref {

void round_with_feedback(const ErrorFeedbackArgs& args, const OpContext&) {
  const int64_t k = args.weight.k;
  const auto most = static_cast<float>(args.most_units);
  std::vector<float> errors(static_cast<size_t>(k));
  for (int64_t n = 0; n < args.weight.n; ++n)
    for (int64_t i = 0; i < k; ++i) {
      float expected = 0;
      for (int64_t j = 0; j < i; ++j)
        expected += args.factor[i * k + j] * errors[static_cast<size_t>(j)];
      const int64_t at = n * k + args.order[i];
      const float w = weight_value(args.weight, n, args.order[i]);
      const float scale = args.scales[at / args.group_size];
      const float units = std::clamp(std::nearbyintf(expected / scale / args.v_unit), -most, most);
      args.v[at] = static_cast<int16_t>(units);
      const int code = full_range_code(w, scale, units * args.v_unit);
      errors[static_cast<size_t>(i)] = w - scale * static_cast<float>(code);
    }
}

}  // namespace qround::ops::ref
