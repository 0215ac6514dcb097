// 64 rows side by side, so that a pass over U serves all of them and the sums of several vector
// registers are under way at once.
#include "ops/error_feedback.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "ops/full_range_int4.h"
#include "ops/ref/weight_value.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/error_feedback.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/f32_vector-inl.h"

namespace qround::ops::cpu {
#ifndef QROUND_OPS_CPU_ERROR_FEEDBACK_ONCE
#define QROUND_OPS_CPU_ERROR_FEEDBACK_ONCE
constexpr int64_t kRowLanes = 64;
#endif
}  // namespace qround::ops::cpu

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// sums[lane] = sum over j < count of u[j] errors[j][lane].
HWY_ATTR void expected_errors(const float* u, const float* errors, int64_t count, float* sums) {
  constexpr int64_t kVectors = kRowLanes / kLanes;
  const F32 d;
  F32Vector totals[kVectors];
  for (F32Vector& total : totals) total = hn::Zero(d);
  for (int64_t j = 0; j < count; ++j, errors += kRowLanes) {
    const auto factor = hn::Set(d, u[j]);
    for (int64_t v = 0; v < kVectors; ++v)
      totals[v] = hn::Add(totals[v], hn::Mul(factor, hn::LoadU(d, errors + v * kLanes)));
  }
  for (int64_t v = 0; v < kVectors; ++v) hn::StoreU(totals[v], d, sums + v * kLanes);
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(expected_errors);

// Rows [first, end), at most kRowLanes; errors [K, kRowLanes].
void round_rows(const ErrorFeedbackArgs& args, int64_t first, int64_t end, float* errors) {
  const int64_t k = args.weight.k;
  const auto most = static_cast<float>(args.most_units);
  const auto expect = HWY_DYNAMIC_DISPATCH(expected_errors);
  for (int64_t i = 0; i < k; ++i) {
    float expected[kRowLanes];
    expect(args.factor + i * k, errors, i, expected);
    float* error = errors + i * kRowLanes;
    std::fill_n(error, kRowLanes, 0.0f);
    for (int64_t n = first; n < end; ++n) {
      const int64_t at = n * k + args.order[i], lane = n - first;
      const float w = ref::weight_value(args.weight, n, args.order[i]);
      const float scale = args.scales[at / args.group_size];
      const float units =
          std::clamp(std::nearbyintf(expected[lane] / scale / args.v_unit), -most, most);
      args.v[at] = static_cast<int16_t>(units);
      const int code = full_range_code(w, scale, units * args.v_unit);
      error[lane] = w - scale * static_cast<float>(code);
    }
  }
}

}  // namespace

void round_with_feedback(const ErrorFeedbackArgs& args, const OpContext& context) {
  const int64_t blocks = (args.weight.n + kRowLanes - 1) / kRowLanes;
  const auto floats = static_cast<size_t>(args.weight.k * kRowLanes);
  Workspace::Scope scope(context.workspace);
  const auto errors = scope.take<float>(floats * static_cast<size_t>(context.threads.count));
  parallel_for(context.threads, static_cast<size_t>(blocks), [&](size_t block, int worker) {
    const int64_t first = static_cast<int64_t>(block) * kRowLanes;
    round_rows(args, first, std::min(args.weight.n, first + kRowLanes),
               errors.data() + floats * static_cast<size_t>(worker));
  });
}

}  // namespace qround::ops::cpu
#endif
