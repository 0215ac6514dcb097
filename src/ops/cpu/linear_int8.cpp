#include "ops/cpu/linear_int8.h"

#include <algorithm>

#include "ops/cpu/int4_int8.h"
#include "ops/cpu/int8_inputs.h"
#include "ops/cpu/int8_rows.h"
#include "ops/cpu/row_blocks.h"

namespace qround::ops::cpu {
namespace {

constexpr int64_t kOutputBlock = 4096;  // outputs of a streamed task
constexpr int64_t kTileRows = 64, kTileOutputs = 256;

class Scratch {
 public:
  Scratch(Workspace::Scope& scope, Threads threads)
      : bytes_(scope.take<std::byte>(kInt4Int8ScratchBytes * static_cast<size_t>(threads.count))) {}
  std::byte* of(int worker) const {
    return bytes_.data() + kInt4Int8ScratchBytes * static_cast<size_t>(worker);
  }

 private:
  std::span<std::byte> bytes_;
};

// Tasks are blocks of outputs of one segment; their sums are added up afterwards.
void stream(const Int4Weight& weight, const Int8Inputs& inputs, float* y, const OpContext& context,
            Workspace::Scope& scope) {
  const int64_t rows = inputs.rows, n = weight.n;
  const Int4Segments segments = int4_segments(weight);
  const int64_t blocks = (n + kOutputBlock - 1) / kOutputBlock;
  const auto more = scope.take<float>(static_cast<size_t>((segments.count - 1) * rows * n));
  const Scratch scratch(scope, context.threads);
  parallel_for(context.threads, static_cast<size_t>(segments.count * blocks),
               [&](size_t task, int worker) {
                 const int64_t segment = static_cast<int64_t>(task) / blocks;
                 const int64_t begin = static_cast<int64_t>(task) % blocks * kOutputBlock;
                 multiply_int4_int8({.weight = &weight,
                                     .inputs = &inputs,
                                     .y = segment == 0 ? y : more.data() + (segment - 1) * rows * n,
                                     .rows = rows,
                                     .y_stride = n,
                                     .begin = begin,
                                     .end = std::min(n, begin + kOutputBlock),
                                     .segment_begin = segment,
                                     .segment_end = segment + 1},
                                    scratch.of(worker));
               });
  if (segments.count == 1) return;
  constexpr int64_t kBlock = 1024;
  const int64_t count = rows * n;
  for_row_blocks(context.threads, (count + kBlock - 1) / kBlock, kBlock * segments.count,
                 [&](int64_t first, int64_t last) {
                   const int64_t begin = first * kBlock, end = std::min(count, last * kBlock);
                   for (int64_t segment = 1; segment < segments.count; ++segment) {
                     const float* from = more.data() + (segment - 1) * count;
                     for (int64_t i = begin; i < end; ++i) y[i] += from[i];
                   }
                 });
}

// Tasks are blocks of rows and outputs.
void tile(const Int4Weight& weight, const Int8Inputs& inputs, float* y, const OpContext& context,
          Workspace::Scope& scope) {
  const int64_t rows = inputs.rows, n = weight.n;
  const int64_t width = n >= 2048 ? kTileOutputs : 64;
  const int64_t columns = (n + width - 1) / width, blocks = (rows + kTileRows - 1) / kTileRows;
  const Scratch scratch(scope, context.threads);
  parallel_for(context.threads, static_cast<size_t>(columns * blocks),
               [&](size_t task, int worker) {
                 const int64_t begin = static_cast<int64_t>(task) / blocks * width;
                 const int64_t row = static_cast<int64_t>(task) % blocks * kTileRows;
                 multiply_int4_int8({.weight = &weight,
                                     .inputs = &inputs,
                                     .first_place = row,
                                     .y = y + row * n,
                                     .rows = std::min(kTileRows, rows - row),
                                     .y_stride = n,
                                     .begin = begin,
                                     .end = std::min(n, begin + width),
                                     .segment_end = int4_segments(weight).count},
                                    scratch.of(worker));
               });
}

template <class Weight>
Int8Inputs round_inputs(const Weight& weight, const float* x, int64_t rows, Threads threads,
                        Workspace::Scope& scope) {
  const Int8Inputs inputs = take_int8_inputs(scope, rows, weight.k, weight.group_size);
  for_row_blocks(threads, rows, weight.k, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) round_to_int8(x + row * weight.k, row, inputs);
  });
  return inputs;
}

}  // namespace

void linear_int8(const Int8Weight& weight, const float* x, int64_t rows, float* y,
                 const OpContext& context) {
  constexpr int64_t kOutputs = 64;
  Workspace::Scope scope(context.workspace);
  const Int8Inputs inputs = round_inputs(weight, x, rows, context.threads, scope);
  const int64_t columns = (weight.n + kOutputs - 1) / kOutputs;
  const int64_t blocks = (rows + kTileRows - 1) / kTileRows;
  parallel_for(context.threads, static_cast<size_t>(columns * blocks), [&](size_t task, int) {
    const int64_t begin = static_cast<int64_t>(task) / blocks * kOutputs;
    const int64_t row = static_cast<int64_t>(task) % blocks * kTileRows;
    multiply_int8_rows({.weight = &weight,
                        .inputs = &inputs,
                        .first_row = row,
                        .rows = std::min(kTileRows, rows - row),
                        .begin = begin,
                        .end = std::min(weight.n, begin + kOutputs),
                        .y = y});
  });
}

void linear_int8(const Int4Weight& weight, const float* x, int64_t rows, float* y,
                 const OpContext& context) {
  if (rows == 0) return;
  Workspace::Scope scope(context.workspace);
  const Int8Inputs inputs = round_inputs(weight, x, rows, context.threads, scope);
  if (rows <= kStreamedRows) return stream(weight, inputs, y, context, scope);
  tile(weight, inputs, y, context, scope);
}

}  // namespace qround::ops::cpu
