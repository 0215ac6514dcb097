#include "model/weight_upload.h"

#include <unordered_map>

namespace qround {
namespace {

constexpr uint64_t kAlignment = 256;

// Calls use(pointer, bytes) for every array of a weight; `pointer` may be changed.
template <class Use>
void for_each_array(ops::DenseWeight& weight, const Use& use) {
  use(weight.data, static_cast<uint64_t>(weight.n * weight.k) * dtype_bytes(weight.dtype));
}
template <class Use>
void for_each_array(ops::Int4Weight& weight, const Use& use) {
  const auto n = static_cast<uint64_t>(weight.n), k = static_cast<uint64_t>(weight.k);
  const uint64_t groups =
      (k + static_cast<uint64_t>(weight.group_size) - 1) / static_cast<uint64_t>(weight.group_size);
  use(weight.qweight, k / 8 * n * sizeof(uint32_t));
  use(weight.qzeros, groups * ((n + 7) / 8) * sizeof(uint32_t));
  use(weight.scales, groups * n * sizeof(uint16_t));
  if (weight.g_idx != nullptr) use(weight.g_idx, k * sizeof(int32_t));
}

template <class Use>
void for_each_array(ops::Int8Weight& weight, const Use& use) {
  use(weight.codes, static_cast<uint64_t>(weight.n * weight.k));
  use(weight.scales,
      static_cast<uint64_t>(weight.n * weight.k / weight.group_size) * sizeof(float));
}

bool groups_follow_each_other(const ops::Int4Weight& weight) {
  for (int64_t k = 0; k < weight.k; ++k)
    if (weight.g_idx[k] != k / weight.group_size) return false;
  return true;
}

ops::Weight without_trivial_indices(ops::Weight weight) {
  auto* int4 = std::get_if<ops::Int4Weight>(&weight);
  if (int4 != nullptr && int4->g_idx != nullptr && groups_follow_each_other(*int4))
    int4->g_idx = nullptr;
  return weight;
}

// Where arrays of host memory go in one block.
class Layout {
 public:
  // The place of an array; the same array has one place.
  uint64_t place(const void* array, uint64_t bytes) {
    const auto [known, is_new] = places_.try_emplace(array, bytes_);
    if (is_new) bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return known->second;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  std::unordered_map<const void*, uint64_t> places_;
  uint64_t bytes_ = 0;
};

Layout layout_of(const std::vector<ops::Weight*>& weights) {
  Layout layout;
  for (const ops::Weight* weight : weights) {
    ops::Weight kept = without_trivial_indices(*weight);
    std::visit(
        [&](auto& w) {
          for_each_array(w, [&](const void* array, uint64_t bytes) { layout.place(array, bytes); });
        },
        kept);
  }
  return layout;
}

}  // namespace

void WeightUpload::add(ops::SwigluWeights& weights) {
  add(weights.gate);
  add(weights.up);
  add(weights.down);
}

void WeightUpload::add(BlockWeights& weights) {
  add(weights.input_norm);
  add(weights.post_attention_norm);
  if (auto* a = std::get_if<AttentionWeights>(&weights.mixer)) {
    for (ops::Weight* map : {&a->q_proj, &a->k_proj, &a->v_proj, &a->o_proj}) add(*map);
    for (ParameterVector* vector : {&a->q_norm, &a->k_norm}) add(*vector);
  } else {
    auto& d = std::get<DeltaNetWeights>(weights.mixer);
    for (ops::Weight* map : {&d.in_proj_qkv, &d.in_proj_z, &d.in_proj_b, &d.in_proj_a, &d.out_proj})
      add(*map);
    for (ParameterVector* vector : {&d.conv1d, &d.a_log, &d.dt_bias, &d.norm}) add(*vector);
  }
  if (auto* dense = std::get_if<ops::SwigluWeights>(&weights.feed_forward)) return add(*dense);
  auto& moe = std::get<MoeWeights>(weights.feed_forward);
  add(moe.router);
  add(moe.shared_expert_gate);
  add(moe.shared);
  for (ops::SwigluWeights& expert : moe.experts) add(expert);
}

uint64_t WeightUpload::bytes() const {
  uint64_t bytes = layout_of(weights_).bytes();
  for (const ParameterVector* vector : vectors_)
    bytes += (vector->size() * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  return bytes;
}

ops::Buffer<std::byte> WeightUpload::upload(const ops::Memory& memory, ops::Stream* stream) {
  Layout layout = layout_of(weights_);
  ops::Buffer<std::byte> block(memory, static_cast<int64_t>(layout.bytes()));
  const auto move = [&](auto*& array, uint64_t bytes) {
    std::byte* to = block.data() + layout.place(array, bytes);
    memory.upload(to, array, bytes, stream);
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(to);
  };
  for (ops::Weight* weight : weights_) {
    *weight = without_trivial_indices(*weight);
    std::visit([&](auto& w) { for_each_array(w, move); }, *weight);
  }
  for (ParameterVector* vector : vectors_)
    *vector = {memory, std::span(vector->data(), vector->size()), stream};
  return block;
}

}  // namespace qround
