#include "quant/rounding_state.h"

#include <algorithm>

#include "base/half.h"
#include "ops/full_range_int4.h"

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

RoundingState::RoundingState(std::vector<TunedLinear> linears, int64_t group_size,
                             const TuneRecipe& recipe, const ops::OpTable& ops,
                             const ops::OpContext& context)
    : linears_(std::move(linears)),
      group_size_(group_size),
      recipe_(recipe),
      rule_(recipe.rule()),
      ops_(ops),
      context_(context),
      dtype_(recipe.bf16_weights ? DType::bf16 : DType::f32) {
  for (const TunedLinear& linear : linears_) {
    places_.push_back({n_weights_, n_groups_});
    const auto weights = static_cast<size_t>(linear.weight.n * linear.weight.k);
    n_weights_ += weights;
    n_groups_ += weights / static_cast<size_t>(group_size);
  }
  v_.assign(n_weights_, 0);
  alpha_.assign(n_groups_, 1.0f);
  beta_.assign(n_groups_, 1.0f);
  values_.resize(n_weights_ * dtype_bytes(dtype_));
  for_row_blocks([&](size_t linear_idx, int64_t begin, int64_t end) {
    ops_.sign_round(linears_[linear_idx].weight, rule_, rows_of(linear_idx, begin, end),
                    {.dtype = dtype_, .values = values_of(linear_idx)}, context_);
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

void RoundingState::step(size_t linear_idx, int64_t begin, int64_t end, const float* gradient,
                         int64_t iteration) {
  const ops::DenseWeight& weight = linears_[linear_idx].weight;
  const ops::SignRoundRows rows = rows_of(linear_idx, begin, end);
  ops_.sign_round_step(weight, rule_, rows,
                       {gradient, {recipe_.v_units(iteration), recipe_.factor_step(iteration)}},
                       context_);
  ops_.sign_round(weight, rule_, rows, {.dtype = dtype_, .values = values_of(linear_idx)},
                  context_);
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
  parallel_for(context_.threads, blocks.size(),
               [&](size_t i, int) { body(blocks[i].linear_idx, blocks[i].begin, blocks[i].end); });
}

RoundingSnapshot RoundingState::empty_snapshot() const {
  return {std::vector<uint8_t>(n_weights_ / 2), std::vector<uint16_t>(n_groups_)};
}

void RoundingState::snapshot(RoundingSnapshot& into) const {
  into.packed_codes.resize(n_weights_ / 2);
  into.scales.resize(n_groups_);
  for_row_blocks([&](size_t linear_idx, int64_t begin, int64_t end) {
    const Place& place = places_[linear_idx];
    const int64_t k = linears_[linear_idx].weight.k;
    std::vector<uint8_t> codes(static_cast<size_t>((end - begin) * k));
    ops_.sign_round(
        linears_[linear_idx].weight, rule_, rows_of(linear_idx, begin, end),
        {.codes = codes.data() - begin * k, .scales = into.scales.data() + place.first_group},
        context_);
    pack_nibbles(
        codes.data(), codes.size(),
        into.packed_codes.data() + (place.first_weight + static_cast<size_t>(begin * k)) / 2);
  });
}

void RoundingState::restore(const RoundingSnapshot& snapshot) {
  for_row_blocks([&](size_t linear_idx, int64_t begin, int64_t end) {
    const int64_t k = linears_[linear_idx].weight.k;
    std::vector<uint8_t> codes(static_cast<size_t>((end - begin) * k));
    std::vector<uint16_t> scales(codes.size() / static_cast<size_t>(group_size_));
    read(snapshot, linear_idx, begin, end, codes.data(), scales.data());
    for (size_t i = 0; i < codes.size(); ++i) {
      const int code = codes[i] + ops::kLowestCode;
      const float value =
          f16_to_f32(scales[i / static_cast<size_t>(group_size_)]) * static_cast<float>(code);
      const size_t index = static_cast<size_t>(begin * k) + i;
      if (dtype_ == DType::bf16) {
        reinterpret_cast<uint16_t*>(values_of(linear_idx))[index] = f32_to_bf16(value);
      } else {
        reinterpret_cast<float*>(values_of(linear_idx))[index] = value;
      }
    }
  });
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
