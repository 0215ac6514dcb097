// A block takes 32 rows of W. Inputs go in panels of 32 in their order: first all threads add up
// what the errors of earlier panels ask for, through tiles in shared memory; then a warp, a row to
// a lane, rounds the panel's inputs one after the other. Sums are the chains of the host.
// Tested by tests/ops/error_feedback_test.cpp against ref.
#include "ops/cuda/launch.h"
#include "ops/cuda/weight_value.h"
#include "ops/error_feedback.h"
#include "ops/full_range_int4.h"

namespace qround::ops::cuda {
namespace {

constexpr int kRows = 32, kPanel = 32, kThreads = 256, kParts = kThreads / kRows;
constexpr int kSums = kPanel / kParts;  // inputs of a thread
constexpr int kPadded = kPanel + 1;     // so that columns of a tile lie in different banks

struct PanelTiles {
  float *errors, *factor;        // [earlier input, row], [input, kPadded]
  float *expected, *w, *scales;  // [input, row]

  __device__ explicit PanelTiles(float* shared)
      : errors(shared),
        factor(errors + kPanel * kRows),
        expected(factor + kPanel * kPadded),
        w(expected + kPanel * kRows),
        scales(w + kPanel * kRows) {}
  static constexpr size_t kBytes = (4 * kPanel * kRows + kPanel * kPadded) * sizeof(float);
};

// U of inputs [first, first + count) of the order and of the kPanel inputs from `earlier` on.
__device__ void load_factor(const ErrorFeedbackArgs& args, int64_t first, int count,
                            int64_t earlier, float* tile) {
  for (int at = static_cast<int>(threadIdx.x); at < kPanel * kPanel; at += kThreads) {
    const int row = at / kPanel, column = at % kPanel;
    const bool exists = row < count && earlier + column < args.weight.k;
    tile[row * kPadded + column] =
        exists ? args.factor[(first + row) * args.weight.k + earlier + column] : 0.0f;
  }
}

// A row's inputs of a panel, by one thread. errors: those of the panel, [input, row].
__device__ void round_panel(const ErrorFeedbackArgs& args, int64_t row, int64_t first, int count,
                            const PanelTiles& tiles, float* errors) {
  const int lane = static_cast<int>(threadIdx.x);
  const auto most = static_cast<float>(args.most_units);
  for (int i = 0; i < count; ++i) {
    float error = 0;
    if (row < args.weight.n) {
      const float w = tiles.w[i * kRows + lane], scale = tiles.scales[i * kRows + lane];
      const float wanted =
          __fdiv_rn(__fdiv_rn(tiles.expected[i * kRows + lane], scale), args.v_unit);
      const float units = fminf(fmaxf(rintf(wanted), -most), most);
      args.v[row * args.weight.k + args.order[first + i]] = static_cast<int16_t>(units);
      const float offset = __fadd_rn(__fdiv_rn(w, scale), __fmul_rn(units, args.v_unit));
      const float code = fminf(fmaxf(rintf(offset), float{kLowestCode}), float{kHighestCode});
      error = __fsub_rn(w, __fmul_rn(scale, code));
    }
    errors[i * kRows + lane] = error;
    for (int later = i + 1; later < count; ++later) {
      float& expected = tiles.expected[later * kRows + lane];
      expected = __fadd_rn(expected, __fmul_rn(tiles.factor[later * kPadded + i], error));
    }
  }
}

// errors [row blocks, K, kRows]
__global__ void feed_back(ErrorFeedbackArgs args, float* errors) {
  const PanelTiles tiles(dynamic_shared<float>());
  const int64_t k = args.weight.k, row_begin = int64_t{blockIdx.x} * kRows;
  const int lane = static_cast<int>(threadIdx.x) % kRows;
  const int part = static_cast<int>(threadIdx.x) / kRows;
  errors += row_begin * k;
  for (int64_t first = 0; first < k; first += kPanel) {
    const int count = static_cast<int>(k - first < kPanel ? k - first : kPanel);
    float sums[kSums] = {};
    for (int64_t earlier = 0; earlier < first; earlier += kPanel) {
      for (int at = static_cast<int>(threadIdx.x); at < kPanel * kRows; at += kThreads)
        tiles.errors[at] = errors[earlier * kRows + at];
      load_factor(args, first, count, earlier, tiles.factor);
      __syncthreads();
      for (int j = 0; j < kPanel; ++j) {
        const float error = tiles.errors[j * kRows + lane];
        for (int m = 0; m < kSums; ++m)
          sums[m] =
              __fadd_rn(sums[m], __fmul_rn(tiles.factor[(part + kParts * m) * kPadded + j], error));
      }
      __syncthreads();
    }
    for (int m = 0; m < kSums; ++m) {
      const int i = part + kParts * m, at = i * kRows + lane;
      tiles.expected[at] = sums[m];
      if (i >= count || row_begin + lane >= args.weight.n) continue;
      const int64_t index = (row_begin + lane) * k + args.order[first + i];
      tiles.w[at] = weight_value(args.weight, index);
      tiles.scales[at] = args.scales[index / args.group_size];
    }
    load_factor(args, first, count, first, tiles.factor);
    __syncthreads();
    if (threadIdx.x < kRows)
      round_panel(args, row_begin + lane, first, count, tiles, errors + first * kRows);
    __syncthreads();
  }
}

}  // namespace

void round_with_feedback(const ErrorFeedbackArgs& args, const OpContext& context) {
  const int64_t blocks = (args.weight.n + kRows - 1) / kRows;
  Workspace::Scope scope(context.workspace);
  float* errors = scope.take<float>(static_cast<size_t>(blocks * kRows * args.weight.k)).data();
  launch(feed_back, dim3(static_cast<unsigned>(blocks)), kThreads, PanelTiles::kBytes,
         context.stream, args, errors);
}

}  // namespace qround::ops::cuda
