#include "ops/kept_rounding.h"

#include <algorithm>
#include <vector>

#include "base/threads.h"

namespace qround::ops {
namespace {

// Rows handled at a time: a few pages of every array.
constexpr int64_t kRowsPerBlock = 16;

struct Block {
  const DenseWeight* weight;
  int64_t first_weight, begin, end;  // of the map's in all arrays; rows
};

std::vector<Block> blocks_of(std::span<const DenseWeight> weights) {
  std::vector<Block> blocks;
  int64_t first_weight = 0;
  for (const DenseWeight& weight : weights) {
    for (int64_t begin = 0; begin < weight.n; begin += kRowsPerBlock)
      blocks.push_back({&weight, first_weight, begin, std::min(weight.n, begin + kRowsPerBlock)});
    first_weight += weight.n * weight.k;
  }
  return blocks;
}

void keep_block(const KeepRoundingArgs& args, const Block& block, SignRoundFunction* round,
                const OpContext& context) {
  const int64_t k = block.weight->k, first_group = block.first_weight / args.rows.group_size;
  std::vector<uint8_t> codes(static_cast<size_t>((block.end - block.begin) * k));
  round(*block.weight, args.rule,
        {.begin = block.begin,
         .end = block.end,
         .group_size = args.rows.group_size,
         .v = args.rows.v + block.first_weight,
         .alpha = args.rows.alpha + first_group,
         .beta = args.rows.beta + first_group},
        {.codes = codes.data() - block.begin * k, .scales = args.scales + first_group}, context);
  uint8_t* packed = args.packed_codes + (block.first_weight + block.begin * k) / 2;
  for (size_t i = 0; i < codes.size() / 2; ++i)
    packed[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
}

}  // namespace

void keep_rounding_on_host(const KeepRoundingArgs& args, SignRoundFunction* round,
                           const OpContext& context) {
  if (args.only_if_new != nullptr && args.only_if_new->is_new == 0) return;
  const std::vector<Block> blocks = blocks_of(args.weights);
  parallel_for(context.threads, blocks.size(),
               [&](size_t i, int) { keep_block(args, blocks[i], round, context); });
}

namespace cpu {

void keep_rounding(const KeepRoundingArgs& args, const OpContext& context) {
  keep_rounding_on_host(args, sign_round, context);
}

}  // namespace cpu

}  // namespace qround::ops
