// Which maps of a network are held as int8 when that is asked for.
#include <memory>
#include <vector>

#include "model/model.h"

namespace qround {
namespace {

using Maps = std::vector<ops::Weight*>;

void add_swiglu(ops::SwigluWeights& weights, Maps& maps) {
  maps.insert(maps.end(), {&weights.gate, &weights.up, &weights.down});
}

// Not the routers, whose choices hang on small differences, nor the decay parameters' maps, which
// are small.
void add_block(BlockWeights& block, Maps& maps) {
  if (auto* attention = std::get_if<AttentionWeights>(&block.mixer)) {
    maps.insert(maps.end(),
                {&attention->q_proj, &attention->k_proj, &attention->v_proj, &attention->o_proj});
  } else {
    auto& delta_net = std::get<DeltaNetWeights>(block.mixer);
    maps.insert(maps.end(), {&delta_net.in_proj_qkv, &delta_net.in_proj_z, &delta_net.out_proj});
  }
  if (auto* moe = std::get_if<MoeWeights>(&block.feed_forward))
    add_swiglu(moe->shared, maps);
  else
    add_swiglu(std::get<ops::SwigluWeights>(block.feed_forward), maps);
}

}  // namespace

void Model::use_int8_copies(Threads threads) {
  Maps maps{&lm_head_};
  for (BlockWeights& block : blocks_) add_block(block, maps);
  if (mtp_) add_block(mtp_->block, maps);
  for (ops::Weight* map : maps) {
    std::optional<Int8Copy> copy = Int8Copy::of(*map, threads);
    if (!copy) continue;
    int8_copies_.push_back(std::make_shared<const Int8Copy>(std::move(*copy)));
    *map = int8_copies_.back()->weight();
  }
}

uint64_t Model::int8_copy_bytes() const {
  uint64_t sum = 0;
  for (const auto& copy : int8_copies_) sum += copy->bytes();
  return sum;
}

}  // namespace qround
