#include "checkpoint/gptq_int4.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/half.h"

namespace qround {
namespace {

// A tile is 16 rows of W (one cache line of a row of qweight) by 64 words: 4 KiB that stay in L1
// while they are turned around.
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileWords = 64;

using Tile = uint32_t[kTileRows][kTileWords];

// Eight codes, a byte each, to one word. Halves the distance between codes three times.
uint32_t pack_word(const uint8_t* codes) {
  uint64_t bits = 0;
  std::memcpy(&bits, codes, sizeof bits);
  bits = (bits | bits >> 4) & 0x00FF00FF00FF00FFu;
  bits = (bits | bits >> 8) & 0x0000FFFF0000FFFFu;
  return static_cast<uint32_t>(bits | bits >> 16);
}

void unpack_word(uint32_t word, uint8_t* codes) {
  uint64_t bits = word;
  bits = (bits | bits << 16) & 0x0000FFFF0000FFFFu;
  bits = (bits | bits << 8) & 0x00FF00FF00FF00FFu;
  bits = (bits | bits << 4) & 0x0F0F0F0F0F0F0F0Fu;
  std::memcpy(codes, &bits, sizeof bits);
}

// Calls visit(first row, rows, first word, words) for every tile of the range.
template <typename Visit>
void for_each_tile(const Int4Shape& shape, RowRange rows, const Visit& visit) {
  const int64_t n_words = shape.in / kCodesPerWord;
  for (int64_t row = rows.begin; row < rows.end; row += kTileRows) {
    for (int64_t word = 0; word < n_words; word += kTileWords) {
      visit(row, std::min(kTileRows, rows.end - row), word, std::min(kTileWords, n_words - word));
    }
  }
}

// Calls visit(row, first word, words, pointer to the row's words) for every piece of a row.
template <typename Visit>
void for_each_row_piece(const Int4Tensors& tensors, RowRange rows, const Visit& visit) {
  const auto* qweight = tensors.qweight.as<uint32_t>();
  const int64_t out = tensors.shape.out;
  for_each_tile(tensors.shape, rows,
                [&](int64_t row, int64_t n_rows, int64_t word, int64_t n_words) {
                  Tile tile;
                  for (int64_t w = 0; w < n_words; ++w) {
                    const uint32_t* line = qweight + (word + w) * out + row;
                    for (int64_t r = 0; r < n_rows; ++r) tile[r][w] = line[r];
                  }
                  for (int64_t r = 0; r < n_rows; ++r) visit(row + r, word, n_words, tile[r]);
                });
}

int stored_zero(const Int4Tensors& tensors, int64_t group, int64_t row) {
  const auto* qzeros = tensors.qzeros.as<uint32_t>();
  const uint32_t word = qzeros[group * tensors.shape.zero_words() + row / kCodesPerWord];
  return static_cast<int>(word >> (4 * (row % kCodesPerWord)) & 0xF);
}

// Scale and zero of one group of one row.
struct GroupParameters {
  float scale;
  float zero;
};

// groups: [rows, n_groups]
void read_groups(const Int4Tensors& tensors, RowRange rows, GroupParameters* groups) {
  const auto* scales = tensors.scales.as<uint16_t>();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t group = 0; group < tensors.shape.n_groups(); ++group) {
      *groups++ = {
          .scale = f16_to_f32(scales[group * tensors.shape.out + row]),
          .zero = static_cast<float>(stored_zero(tensors, group, row) + tensors.zero_offset)};
    }
  }
}

// Words first, first + 1, ... of one row of W.
struct RowPiece {
  const uint32_t* words;
  int64_t n_words;
  int64_t first;
};

// groups: the row's [n_groups]. weights: [n_words * 8].
void dequantize_piece(const Int4Tensors& tensors, const RowPiece& piece,
                      const GroupParameters* groups, float* weights) {
  uint8_t codes[kTileWords * kCodesPerWord];
  for (int64_t w = 0; w < piece.n_words; ++w) {
    unpack_word(piece.words[w], codes + w * kCodesPerWord);
  }
  const int64_t first = piece.first * kCodesPerWord;
  const int64_t end = first + piece.n_words * kCodesPerWord;
  if (tensors.g_idx) {
    const int32_t* g_idx = tensors.g_idx->as<int32_t>();
    for (int64_t k = first; k < end; ++k) {
      const auto [scale, zero] = groups[g_idx[k]];
      weights[k - first] = scale * (static_cast<float>(codes[k - first]) - zero);
    }
    return;
  }
  const int64_t group_size = tensors.shape.group_size;
  for (int64_t k = first; k < end;) {
    const auto [scale, zero] = groups[k / group_size];
    const int64_t group_end = std::min(end, (k / group_size + 1) * group_size);
    for (; k < group_end; ++k) {
      weights[k - first] = scale * (static_cast<float>(codes[k - first]) - zero);
    }
  }
}

// Throws unless `view` has this dtype and shape.
void check_tensor(const std::string& name, const TensorView& view, DType dtype,
                  const Shape& shape) {
  if (view.dtype == dtype && view.shape == shape) return;
  throw Error("tensor of an int4 linear has the wrong dtype or shape")
      .tensor(name)
      .expected(fmt::format("{} {}", dtype_name(dtype), shape_text(shape)))
      .actual(fmt::format("{} {}", dtype_name(view.dtype), shape_text(view.shape)));
}

Int4Shape shape_from_qweight(const std::string& name, const TensorView& qweight,
                             int64_t group_size) {
  if (qweight.dtype != DType::i32 || qweight.shape.size() != 2 || qweight.count() == 0) {
    throw Error("tensor of an int4 linear has the wrong dtype or shape")
        .tensor(name)
        .expected("I32 [in/8, out]")
        .actual(fmt::format("{} {}", dtype_name(qweight.dtype), shape_text(qweight.shape)));
  }
  Int4Shape shape{.out = qweight.shape[1], .in = qweight.shape[0] * kCodesPerWord};
  shape.group_size = group_size == -1 ? shape.in : group_size;
  if (shape.group_size < 1) {
    throw Error("group size of an int4 linear is not usable")
        .tensor(name)
        .actual(fmt::format("{}", group_size));
  }
  return shape;
}

// Whether g_idx says nothing but input / group_size. Throws when an entry is no group.
bool is_plain_group_index(const std::string& name, const TensorView& g_idx,
                          const Int4Shape& shape) {
  bool plain = true;
  for (int64_t k = 0; k < shape.in; ++k) {
    const int32_t group = g_idx.as<int32_t>()[k];
    if (group < 0 || group >= shape.n_groups()) {
      throw Error("g_idx points at no group")
          .tensor(name)
          .expected(fmt::format("0 to {}", shape.n_groups() - 1))
          .actual(fmt::format("{} for input {}", group, k));
    }
    plain = plain && group == k / shape.group_size;
  }
  return plain;
}

}  // namespace

Int4Tensors int4_tensors(const Checkpoint& checkpoint, std::string_view linear,
                         const Int4Format& format) {
  const std::string prefix(linear);
  try {
    Int4Tensors tensors;
    tensors.zero_offset = format.zero_offset;
    tensors.qweight = checkpoint.view(prefix + ".qweight");
    tensors.shape = shape_from_qweight(prefix + ".qweight", tensors.qweight, format.group_size);
    tensors.qzeros = checkpoint.view(prefix + ".qzeros");
    tensors.scales = checkpoint.view(prefix + ".scales");
    check_tensor(prefix + ".scales", tensors.scales, DType::f16, tensors.shape.scales());
    check_tensor(prefix + ".qzeros", tensors.qzeros, DType::i32, tensors.shape.qzeros());
    const std::string g_idx_name = prefix + ".g_idx";
    if (const TensorEntry* entry = checkpoint.find(g_idx_name)) {
      const TensorView g_idx = checkpoint.view(*entry);
      check_tensor(g_idx_name, g_idx, DType::i32, {tensors.shape.in});
      if (!is_plain_group_index(g_idx_name, g_idx, tensors.shape)) tensors.g_idx = g_idx;
    }
    return tensors;
  } catch (Error& error) {
    throw error.file(checkpoint.path());
  }
}

void pack_codes(const Int4Shape& shape, RowRange rows, const uint8_t* codes, int32_t* qweight) {
  for_each_tile(shape, rows, [&](int64_t row, int64_t n_rows, int64_t word, int64_t n_words) {
    Tile tile;
    for (int64_t r = 0; r < n_rows; ++r) {
      const uint8_t* line = codes + (row + r - rows.begin) * shape.in + word * kCodesPerWord;
      for (int64_t w = 0; w < n_words; ++w) tile[r][w] = pack_word(line + w * kCodesPerWord);
    }
    for (int64_t w = 0; w < n_words; ++w) {
      int32_t* line = qweight + (word + w) * shape.out + row;
      for (int64_t r = 0; r < n_rows; ++r) line[r] = static_cast<int32_t>(tile[r][w]);
    }
  });
}

void pack_scales(const Int4Shape& shape, RowRange rows, const uint16_t* row_scales,
                 uint16_t* scales) {
  const int64_t n_groups = shape.n_groups();
  for (int64_t first = rows.begin; first < rows.end; first += kTileRows) {
    const int64_t last = std::min(first + kTileRows, rows.end);
    for (int64_t group = 0; group < n_groups; ++group) {
      for (int64_t row = first; row < last; ++row) {
        scales[group * shape.out + row] = row_scales[(row - rows.begin) * n_groups + group];
      }
    }
  }
}

void pack_zeros(const Int4Shape& shape, RowRange rows, const uint8_t* zeros, int32_t* qzeros) {
  const int64_t n_groups = shape.n_groups();
  for (int64_t first = rows.begin; first < rows.end; first += kCodesPerWord) {
    const int64_t last = std::min(first + kCodesPerWord, rows.end);
    for (int64_t group = 0; group < n_groups; ++group) {
      uint32_t word = 0;
      for (int64_t row = first; row < last; ++row) {
        const uint32_t zero = zeros[(row - rows.begin) * n_groups + group];
        word |= (zero - 1) << (4 * (row - first));
      }
      qzeros[group * shape.zero_words() + first / kCodesPerWord] = static_cast<int32_t>(word);
    }
  }
}

void unpack_codes(const Int4Tensors& tensors, RowRange rows, uint8_t* codes) {
  const int64_t in = tensors.shape.in;
  for_each_row_piece(tensors, rows,
                     [&](int64_t row, int64_t word, int64_t n_words, const uint32_t* words) {
                       uint8_t* line = codes + (row - rows.begin) * in + word * kCodesPerWord;
                       for (int64_t w = 0; w < n_words; ++w) {
                         unpack_word(words[w], line + w * kCodesPerWord);
                       }
                     });
}

void unpack_scales(const Int4Tensors& tensors, RowRange rows, uint16_t* row_scales) {
  const int64_t n_groups = tensors.shape.n_groups();
  const auto* scales = tensors.scales.as<uint16_t>();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t group = 0; group < n_groups; ++group) {
      *row_scales++ = scales[group * tensors.shape.out + row];
    }
  }
}

void unpack_zeros(const Int4Tensors& tensors, RowRange rows, uint8_t* zeros) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t group = 0; group < tensors.shape.n_groups(); ++group) {
      *zeros++ = static_cast<uint8_t>(stored_zero(tensors, group, row) + tensors.zero_offset);
    }
  }
}

void dequantize_int4(const Int4Tensors& tensors, RowRange rows, float* weights) {
  const Int4Shape& shape = tensors.shape;
  std::vector<GroupParameters> groups(static_cast<size_t>(kTileRows * shape.n_groups()));
  for (int64_t first = rows.begin; first < rows.end; first += kTileRows) {
    const RowRange tile{first, std::min(first + kTileRows, rows.end)};
    read_groups(tensors, tile, groups.data());
    for_each_row_piece(
        tensors, tile, [&](int64_t row, int64_t word, int64_t n_words, const uint32_t* words) {
          float* line = weights + (row - rows.begin) * shape.in + word * kCodesPerWord;
          dequantize_piece(tensors, {words, n_words, word},
                           groups.data() + (row - first) * shape.n_groups(), line);
        });
  }
}

}  // namespace qround
