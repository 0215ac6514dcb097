// Rounded inputs times an int4 weight, in whole numbers, straight from the file's layout.
//
// Row r of qweight holds inputs 8r .. 8r + 7 of every output: a vector of words taken apart by a
// mask and a shift gives bytes of four even and four odd inputs of every output, which meet the
// inputs' bytes in dot products of four. Per group y takes scale * s * (sum of products - zero *
// sum of inputs), an exact integer until the first multiplication.
//
// A few rows are bound by memory, and the order of reading decides. The words of a group are read
// in passes of eight whole rows of qweight, neighbours in the file, with integer sums in the
// first-level cache; on two Zen 4 cores that reads at 97-108 % of a plain read. A tile of 64
// outputs over all 16 rows of a group, sums in registers, gets 68-85 %, blocks of 256 outputs
// 44-69 %. So a weight is cut for threads along its inputs, into segments.
//
// More rows are bound by arithmetic: register tiles of 8 rows and 48 outputs (AVX-512) take codes
// apart as they meet them, and beyond 16 rows 64 outputs of a group are taken apart once into the
// first-level cache and meet tiles of 6. On two Zen 4 cores, N 8192, K 2048, flop/s of 8 rows 380
// -> 515 G and of 16 rows 510 -> 605 G against taking apart first, of 64 rows 640 against 515.
#pragma once

#include <cstdint>

#include "ops/cpu/int8_inputs.h"
#include "ops/weight.h"

namespace qround::ops::cpu {

// Up to this many rows are computed by streaming the weight.
inline constexpr int64_t kStreamedRows = 4;

// How a weight's groups are cut into segments. Sums run within each segment and then over the
// segments in their order, whoever computes them; so bits depend on the weight's shape alone.
struct Int4Segments {
  int64_t count = 1, groups_each = 1;
};
Int4Segments int4_segments(const Int4Weight& weight);

struct Int4Int8Product {
  const Int4Weight* weight = nullptr;  // takes_int8_inputs
  const Int8Inputs* inputs = nullptr;  // with the weight's k and group size
  const int32_t* places = nullptr;     // row r reads row places[r] of inputs; or null:
  int64_t first_place = 0;             // it reads row first_place + r
  float* y = nullptr;                  // [rows, N], rows y_stride apart
  int64_t rows = 0, y_stride = 0;
  int64_t begin = 0, end = 0;  // the outputs to compute; begin is a multiple of 64
  int64_t segment_begin = 0, segment_end = 1;
};

// 64-byte aligned memory a thread needs.
inline constexpr size_t kInt4Int8ScratchBytes = size_t{128} << 10;

// y[r][n] = the sum of these segments, overwritten. On the calling thread.
void multiply_int4_int8(const Int4Int8Product& product, std::byte* scratch);

}  // namespace qround::ops::cpu
