// Moves and sums of rows between other operations.
#pragma once

#include <cstdint>

#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops {

// out[row] = W[ids[row]]: rows of an embedding, exact on every backend.
struct EmbedArgs {
  const int32_t* ids = nullptr;  // [rows], each a row of W
  float* out = nullptr;          // [rows, K]
  int64_t rows = 0;
};
using EmbedFunction = void(const Weight& table, const EmbedArgs& args, const OpContext& context);

// places[row] = the lowest place of the largest value of x[row].
struct LargestInRowsArgs {
  const float* x = nullptr;   // [rows, width], no NaN
  int32_t* places = nullptr;  // [rows]
  int64_t rows = 0, width = 0;
};
using LargestInRowsFunction = void(const LargestInRowsArgs& args, const OpContext& context);

// sum += x, both [count].
using AddFunction = void(const float* x, float* sum, int64_t count, const OpContext& context);

// Columns of wider rows, from one place to another.
struct CopyRowsArgs {
  const float* x = nullptr;  // [rows, width], rows x_stride apart
  float* out = nullptr;      // [rows, width], rows out_stride apart; does not overlap x
  int64_t rows = 0, width = 0;
  int64_t x_stride = 0, out_stride = 0;  // floats
};
using CopyRowsFunction = void(const CopyRowsArgs& args, const OpContext& context);

// out[row] = x[choices[row] / choices_per_row].
struct GatherRowsArgs {
  const float* x = nullptr;          // [, width]
  const int32_t* choices = nullptr;  // [rows]
  float* out = nullptr;              // [rows, width]
  int64_t rows = 0, width = 0, choices_per_row = 1;
};
using GatherRowsFunction = void(const GatherRowsArgs& args, const OpContext& context);

// Sums over rows: squares[k] = sum of weights[row]² x[row][k]².
struct ColumnSquaresArgs {
  const float* x = nullptr;        // [rows, K]
  const float* weights = nullptr;  // [rows], or null: 1
  double* squares = nullptr;       // [K], overwritten
  int64_t rows = 0, k = 0;
};
using ColumnSquaresFunction = void(const ColumnSquaresArgs& args, const OpContext& context);

namespace ref {
AddFunction add;
CopyRowsFunction copy_rows;
GatherRowsFunction gather_rows;
ColumnSquaresFunction column_squares;
EmbedFunction embed;
LargestInRowsFunction largest_in_rows;
}  // namespace ref

namespace cpu {
AddFunction add;
CopyRowsFunction copy_rows;
GatherRowsFunction gather_rows;
ColumnSquaresFunction column_squares;
EmbedFunction embed;
LargestInRowsFunction largest_in_rows;
}  // namespace cpu

namespace cuda {
AddFunction add;
CopyRowsFunction copy_rows;
GatherRowsFunction gather_rows;
ColumnSquaresFunction column_squares;
EmbedFunction embed;
LargestInRowsFunction largest_in_rows;
}  // namespace cuda

}  // namespace qround::ops
