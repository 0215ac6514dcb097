// The GPTQ layout of 4-bit linears, as AutoRound, GPTQModel, vLLM, SGLang and transformers share it
// (docs/formats/gptq_int4.md). A linear P with weight W [out, in] is stored as
//
//   P.qweight  I32  [in/8, out]             eight codes to a word, along `in`
//   P.qzeros   I32  [groups, ceil(out/8)]   eight zeros to a word, along `out`
//   P.scales   F16  [groups, out]           signed
//   P.g_idx    I32  [in]                    optional: each input's group; else k / group_size
//
//   word (r, n) of qweight, W's row n, inputs 8r .. 8r+7, the lowest four bits first:
//
//     bit   31..28  27..24  23..20  19..16  15..12  11..8   7..4    3..0
//     input  8r+7    8r+6    8r+5    8r+4    8r+3    8r+2   8r+1     8r
//
//   word (g, c) of qzeros holds the zeros of outputs 8c .. 8c+7 in the same way, each stored as
//   zero - 1 (format v1). Symmetric quantization has zero 8 everywhere: all words are 0x77777777.
//
//   W[n][k] = scales[g][n] * (code(k, n) - zero(g, n)),  g = k / group_size or g_idx[k]
//
// Everything here works on a range of W's rows and is free of state: the caller splits the rows
// among threads. In memory codes and groups run along a row of W; in the file rows of W are
// columns, so all functions transpose, in tiles of a cache line.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/tensor_view.h"
#include "checkpoint/checkpoint.h"

namespace qround {

inline constexpr int64_t kCodesPerWord = 8;
inline constexpr int32_t kSymmetricZeros = 0x77777777;

struct Int4Shape {
  int64_t out = 0;
  int64_t in = 0;          // a multiple of 8
  int64_t group_size = 0;  // inputs that share a scale; the last group may be shorter

  int64_t n_groups() const { return (in + group_size - 1) / group_size; }
  int64_t zero_words() const { return (out + kCodesPerWord - 1) / kCodesPerWord; }
  Shape qweight() const { return {in / kCodesPerWord, out}; }
  Shape qzeros() const { return {n_groups(), zero_words()}; }
  Shape scales() const { return {n_groups(), out}; }
};

// Rows [begin, end) of W.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t count() const { return end - begin; }
};

// The tensors of one linear, checked against each other.
struct Int4Tensors {
  Int4Shape shape = {};
  TensorView qweight = {};  // shape.qweight() i32
  TensorView qzeros = {};   // shape.qzeros() i32
  TensorView scales = {};   // shape.scales() f16
  // [in] i32, each in [0, n_groups); absent as well when the file's says k / group_size.
  std::optional<TensorView> g_idx = {};
  int zero_offset = 1;  // zero = stored nibble + zero_offset
};

struct Int4Format {
  int64_t group_size = 128;  // -1: one group to a row
  int zero_offset = 1;       // 1: zeros are stored minus one (v1); 0: as they are (v2)
};

// The tensors of `linear` ("model.layers.0.mlp.up_proj"). Throws Error naming the tensor that is
// missing or has a dtype or shape the others contradict, or a g_idx that points at no group.
Int4Tensors int4_tensors(const Checkpoint& checkpoint, std::string_view linear,
                         const Int4Format& format);

// --- Writing. `codes` etc. hold the given rows only; the outputs are whole tensors of the file, of
// which the columns of these rows are written. Disjoint ranges may be written at the same time.

// codes: [rows, in], each 0..15. qweight: shape.qweight().
void pack_codes(const Int4Shape& shape, RowRange rows, const uint8_t* codes, int32_t* qweight);

// row_scales: [rows, n_groups] f16 bits. scales: shape.scales().
void pack_scales(const Int4Shape& shape, RowRange rows, const uint16_t* row_scales,
                 uint16_t* scales);

// zeros: [rows, n_groups], each 1..16. qzeros: shape.qzeros(), v1. A word belongs to eight rows:
// begin must be a multiple of 8, and end one or shape.out. Nibbles beyond `out` are 0.
void pack_zeros(const Int4Shape& shape, RowRange rows, const uint8_t* zeros, int32_t* qzeros);

// --- Reading, into rows that lie one after the other.

// codes: [rows, in], each 0..15.
void unpack_codes(const Int4Tensors& tensors, RowRange rows, uint8_t* codes);

// row_scales: [rows, n_groups] f16 bits.
void unpack_scales(const Int4Tensors& tensors, RowRange rows, uint16_t* row_scales);

// zeros: [rows, n_groups], each 0..16.
void unpack_zeros(const Int4Tensors& tensors, RowRange rows, uint8_t* zeros);

// weights: [rows, in], the exact f32 product of scale and (code - zero).
void dequantize_int4(const Int4Tensors& tensors, RowRange rows, float* weights);

}  // namespace qround
