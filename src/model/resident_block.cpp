#include "model/block_weights.h"

namespace qround {
namespace {

constexpr size_t kAlignment = 256;

size_t padded_bytes(const ops::DenseWeight& weight) {
  const auto bytes = static_cast<size_t>(weight.n * weight.k) * dtype_bytes(weight.dtype);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void add_maps(ops::SwigluWeights& weights, std::vector<ops::Weight*>& maps) {
  maps.insert(maps.end(), {&weights.gate, &weights.up, &weights.down});
}

std::vector<ops::Weight*> linear_maps(BlockWeights& weights) {
  std::vector<ops::Weight*> maps;
  if (auto* attention = std::get_if<AttentionWeights>(&weights.mixer)) {
    maps = {&attention->q_proj, &attention->k_proj, &attention->v_proj, &attention->o_proj};
  } else {
    auto& d = std::get<DeltaNetWeights>(weights.mixer);
    maps = {&d.in_proj_qkv, &d.in_proj_z, &d.in_proj_b, &d.in_proj_a, &d.out_proj};
  }
  if (auto* dense = std::get_if<ops::SwigluWeights>(&weights.feed_forward)) {
    add_maps(*dense, maps);
    return maps;
  }
  auto& moe = std::get<MoeWeights>(weights.feed_forward);
  maps.insert(maps.end(), {&moe.router, &moe.shared_expert_gate});
  add_maps(moe.shared, maps);
  for (ops::SwigluWeights& expert : moe.experts) add_maps(expert, maps);
  return maps;
}

std::vector<ParameterVector*> vectors(BlockWeights& weights) {
  std::vector<ParameterVector*> all = {&weights.input_norm, &weights.post_attention_norm};
  if (auto* attention = std::get_if<AttentionWeights>(&weights.mixer)) {
    all.insert(all.end(), {&attention->q_norm, &attention->k_norm});
  } else {
    auto& d = std::get<DeltaNetWeights>(weights.mixer);
    all.insert(all.end(), {&d.conv1d, &d.a_log, &d.dt_bias, &d.norm});
  }
  return all;
}

}  // namespace

ResidentBlock make_resident(const BlockWeights& weights, const ops::Memory& memory,
                            ops::Stream* stream) {
  ResidentBlock block{weights, {}};
  if (memory.is_host) return block;
  const std::vector<ops::Weight*> maps = linear_maps(block.weights);
  size_t total = 0;
  for (const ops::Weight* map : maps) total += padded_bytes(std::get<ops::DenseWeight>(*map));
  block.matrices = {memory, static_cast<int64_t>(total)};
  std::byte* next = block.matrices.data();
  for (ops::Weight* map : maps) {
    auto& dense = std::get<ops::DenseWeight>(*map);
    memory.upload(next, dense.data,
                  static_cast<size_t>(dense.n * dense.k) * dtype_bytes(dense.dtype), stream);
    dense.data = next;
    next += padded_bytes(dense);
  }
  for (ParameterVector* vector : vectors(block.weights))
    *vector = {memory, {vector->data(), vector->size()}};
  return block;
}

}  // namespace qround
