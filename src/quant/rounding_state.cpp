#include "quant/rounding_state.h"

#include <algorithm>

#include "ops/resident_copy.h"

namespace qround::quant {
namespace {

// Rows handled at a time: a few pages of every array.
constexpr int64_t kRowsPerBlock = 16;

void unpack_nibbles(const uint8_t* packed, size_t count, uint8_t* codes) {
  for (size_t i = 0; i < count / 2; ++i) {
    codes[2 * i] = packed[i] & 15;
    codes[2 * i + 1] = packed[i] >> 4;
  }
}

}  // namespace

void pack_nibbles(const uint8_t* codes, size_t count, uint8_t* packed) {
  for (size_t i = 0; i < count / 2; ++i)
    packed[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
}

RoundingState::RoundingState(std::vector<TunedLinear> linears,
                             std::vector<ops::DenseWeight> resident, int64_t group_size,
                             const TuneRecipe& recipe, const Executor& executor)
    : linears_(std::move(linears)),
      resident_(std::move(resident)),
      group_size_(group_size),
      rule_(recipe.rule()),
      executor_(executor),
      dtype_(recipe.bf16_weights ? DType::bf16 : DType::f32) {
  for (const TunedLinear& linear : linears_) {
    places_.push_back({n_weights_, n_groups_});
    const auto weights = static_cast<size_t>(linear.weight.n * linear.weight.k);
    n_weights_ += weights;
    n_groups_ += weights / static_cast<size_t>(group_size);
  }
  const ops::Memory& memory = *executor.ops.memory;
  v_ = {memory, static_cast<int64_t>(n_weights_)};
  v_.fill_zero(executor.context.stream);
  const std::vector<float> ones(n_groups_, 1.0f);
  alpha_ = {memory, std::span<const float>(ones), executor.context.stream};
  beta_ = {memory, std::span<const float>(ones), executor.context.stream};
  values_ = {memory, static_cast<int64_t>(n_weights_ * dtype_bytes(dtype_))};
  std::vector<ops::SignRoundStepSizes> sizes;
  for (int64_t iteration = 0; iteration < recipe.iterations; ++iteration)
    sizes.push_back({recipe.v_units(iteration), recipe.factor_step(iteration)});
  step_sizes_ = {memory, std::span<const ops::SignRoundStepSizes>(sizes), executor.context.stream};
  refresh();
}

void RoundingState::set_factors(size_t linear_idx, const float* alpha, const float* beta) {
  const ops::Memory& memory = *executor_.ops.memory;
  const Place& place = places_[linear_idx];
  const ops::DenseWeight& weight = linears_[linear_idx].weight;
  const auto bytes = static_cast<size_t>(weight.n * weight.k / group_size_) * sizeof(float);
  memory.upload(alpha_.data() + place.first_group, alpha, bytes, executor_.context.stream);
  memory.upload(beta_.data() + place.first_group, beta, bytes, executor_.context.stream);
}

void RoundingState::refresh() {
  for_parts([&](size_t linear_idx, int64_t begin, int64_t end) {
    executor_.ops.sign_round(resident_[linear_idx], rule_, rows_of(linear_idx, begin, end),
                             {.dtype = dtype_, .values = values_of(linear_idx)}, executor_.context);
  });
}

ops::SignRoundRows RoundingState::rows_of(size_t linear_idx, int64_t begin, int64_t end) const {
  const Place& place = places_[linear_idx];
  return {begin,
          end,
          group_size_,
          v_.data() + place.first_weight,
          alpha_.data() + place.first_group,
          beta_.data() + place.first_group};
}

std::byte* RoundingState::values_of(size_t linear_idx) const {
  return values_.data() + places_[linear_idx].first_weight * dtype_bytes(dtype_);
}

ops::DenseWeight RoundingState::effective_weight(size_t linear_idx) const {
  const ops::DenseWeight& source = linears_[linear_idx].weight;
  return {dtype_, values_of(linear_idx), source.n, source.k};
}

ops::SignRoundTarget RoundingState::target(size_t linear_idx) const {
  const ops::DenseWeight& weight = resident_[linear_idx];
  return {
      weight, rows_of(linear_idx, 0, weight.n), {.dtype = dtype_, .values = values_of(linear_idx)}};
}

void RoundingState::for_parts(const std::function<void(size_t, int64_t, int64_t)>& body) const {
  if (on_host()) return for_row_blocks(body);
  for (size_t linear_idx = 0; linear_idx < linears_.size(); ++linear_idx)
    body(linear_idx, 0, linears_[linear_idx].weight.n);
}

void RoundingState::for_row_blocks(
    const std::function<void(size_t, int64_t, int64_t)>& body) const {
  struct Block {
    size_t linear_idx;
    int64_t begin, end;
  };
  std::vector<Block> blocks;
  for (size_t linear_idx = 0; linear_idx < linears_.size(); ++linear_idx) {
    const int64_t rows = linears_[linear_idx].weight.n;
    for (int64_t begin = 0; begin < rows; begin += kRowsPerBlock) {
      blocks.push_back({linear_idx, begin, std::min(rows, begin + kRowsPerBlock)});
    }
  }
  parallel_for(executor_.context.threads, blocks.size(),
               [&](size_t i, int) { body(blocks[i].linear_idx, blocks[i].begin, blocks[i].end); });
}

RoundingSnapshot RoundingState::empty_snapshot() const {
  return {std::vector<uint8_t>(n_weights_ / 2), std::vector<uint16_t>(n_groups_)};
}

void RoundingState::keep(const ops::BestLoss* only_if_new) {
  if (on_host()) {
    kept_.packed_codes.resize(n_weights_ / 2);
    kept_.scales.resize(n_groups_);
  } else if (kept_codes_.empty()) {
    kept_codes_ = {*executor_.ops.memory, static_cast<int64_t>(n_weights_ / 2)};
    kept_scales_ = {*executor_.ops.memory, static_cast<int64_t>(n_groups_)};
  }
  executor_.ops.keep_rounding(
      {.weights = resident_,
       .rule = rule_,
       .rows = {.group_size = group_size_,
                .v = v_.data(),
                .alpha = alpha_.data(),
                .beta = beta_.data()},
       .packed_codes = on_host() ? kept_.packed_codes.data() : kept_codes_.data(),
       .scales = on_host() ? kept_.scales.data() : kept_scales_.data(),
       .only_if_new = only_if_new},
      executor_.context);
}

RoundingSnapshot RoundingState::take_kept() {
  if (on_host()) return std::move(kept_);
  RoundingSnapshot snapshot{kept_codes_.to_vector(executor_.context.stream),
                            kept_scales_.to_vector(executor_.context.stream)};
  kept_codes_ = {};
  kept_scales_ = {};
  return snapshot;
}

void RoundingState::restore(const RoundingSnapshot& snapshot) {
  const ops::Memory& memory = *executor_.ops.memory;
  ops::Stream* stream = executor_.context.stream;
  const ops::ResidentCopy<uint8_t> codes(memory, snapshot.packed_codes, stream);
  const ops::ResidentCopy<uint16_t> scales(memory, snapshot.scales, stream);
  // Maps lie one after the other, in whole groups.
  executor_.ops.rounded_values({.packed = codes.data(),
                                .scales = scales.data(),
                                .dtype = dtype_,
                                .values = values_.data(),
                                .count = static_cast<int64_t>(n_weights_),
                                .group_size = group_size_},
                               executor_.context);
}

void RoundingState::read(const RoundingSnapshot& snapshot, size_t linear_idx, int64_t begin,
                         int64_t end, uint8_t* codes, uint16_t* scales) const {
  const Place& place = places_[linear_idx];
  const int64_t k = linears_[linear_idx].weight.k;
  const auto first = place.first_weight + static_cast<size_t>(begin * k);
  unpack_nibbles(snapshot.packed_codes.data() + first / 2, static_cast<size_t>((end - begin) * k),
                 codes);
  const int64_t groups = k / group_size_;
  const uint16_t* from = snapshot.scales.data() + place.first_group + begin * groups;
  std::copy_n(from, (end - begin) * groups, scales);
}

void RoundingState::write(RoundingSnapshot& snapshot, size_t linear_idx, int64_t begin, int64_t end,
                          const uint8_t* codes, const uint16_t* scales) const {
  const Place& place = places_[linear_idx];
  const int64_t k = linears_[linear_idx].weight.k;
  const auto first = place.first_weight + static_cast<size_t>(begin * k);
  pack_nibbles(codes, static_cast<size_t>((end - begin) * k),
               snapshot.packed_codes.data() + first / 2);
  const int64_t groups = k / group_size_;
  std::copy_n(scales, (end - begin) * groups,
              snapshot.scales.data() + static_cast<int64_t>(place.first_group) + begin * groups);
}

uint64_t RoundingState::bytes(uint64_t weights, uint64_t groups, const TuneRecipe& recipe) {
  const uint64_t value = recipe.bf16_weights ? 2 : 4;
  const uint64_t snapshot = weights / 2 + groups * sizeof(uint16_t);
  return weights * (sizeof(int16_t) + value) + groups * 2 * sizeof(float) + snapshot;
}

}  // namespace qround::quant
