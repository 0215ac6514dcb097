// A warp takes 128 neighbouring weights of a row: one, two or four groups. A step and the rounding
// after it from a gradient that never leaves the block are in sign_round_epilogue.h.
// Tested by tests/ops/sign_round_test.cpp against ref, bit for bit.
#include "ops/cuda/launch.h"
#include "ops/cuda/sign_round_lane.h"
#include "ops/sign_round.h"

namespace qround::ops::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpLanes;

// The part of a row that the calling warp takes; false: none.
__device__ bool find_place(int64_t k, const SignRoundRows& rows, int64_t& row, int64_t& column) {
  const int64_t parts = (k + kWeightsPerWarp - 1) / kWeightsPerWarp;
  const int64_t part = int64_t{blockIdx.x} * kWarps + warp_idx();
  row = rows.begin + part / parts;
  column = part % parts * kWeightsPerWarp;
  return row < rows.end;
}

__global__ void round_rows(DenseWeight weight, SignRoundRule rule, SignRoundRows rows,
                           SignRoundResult result) {
  int64_t row, column;
  if (!find_place(weight.k, rows, row, column)) return;
  SignRoundLane lane(weight, rule, rows, row, column);
  lane.store(result);
}

__global__ void step_rows(DenseWeight weight, SignRoundRule rule, SignRoundRows rows,
                          SignRoundStep step) {
  int64_t row, column;
  if (!find_place(weight.k, rows, row, column)) return;
  SignRoundLane lane(weight, rule, rows, row, column);
  float gradient[kWeightsPerLane]{};
  const float* of_row = step.gradient + (row - rows.begin) * weight.k;
  if (lane.exists())
    for (int i = 0; i < kWeightsPerLane; ++i) gradient[i] = of_row[lane.column() + i];
  lane.step(gradient, step.sizes);
}

template <typename... P>
void launch_parts(void (*kernel)(P...), const DenseWeight& weight, const SignRoundRows& rows,
                  Stream* stream, std::type_identity_t<P>... arguments) {
  const int64_t parts =
      (rows.end - rows.begin) * ((weight.k + kWeightsPerWarp - 1) / kWeightsPerWarp);
  launch(kernel, static_cast<unsigned>((parts + kWarps - 1) / kWarps), kThreads, 0, stream,
         arguments...);
}

}  // namespace

void sign_round(const DenseWeight& weight, const SignRoundRule& rule, const SignRoundRows& rows,
                const SignRoundResult& result, const OpContext& context) {
  launch_parts(round_rows, weight, rows, context.stream, weight, rule, rows, result);
}

void sign_round_step(const DenseWeight& weight, const SignRoundRule& rule,
                     const SignRoundRows& rows, const SignRoundStep& step,
                     const OpContext& context) {
  launch_parts(step_rows, weight, rows, context.stream, weight, rule, rows, step);
}

}  // namespace qround::ops::cuda
