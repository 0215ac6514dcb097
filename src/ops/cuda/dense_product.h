// The shapes of the dense and grouped products of tuning: D [128 x 128] by 8 warps.
#pragma once

#include "ops/cuda/bf16_matrix.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/tile_product.h"

namespace qround::ops::cuda {

inline constexpr int kTile = 128;

template <Layout kLayoutA, Layout kLayoutB>
using Product = TileProduct<kTile, kTile, 2, 4, kLayoutA, kLayoutB>;

inline unsigned tiles_of(int64_t count) {
  return static_cast<unsigned>((count + kTile - 1) / kTile);
}

}  // namespace qround::ops::cuda
