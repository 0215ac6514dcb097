#include "model/int8_copy.h"

#include <algorithm>
#include <cmath>

#include "ops/linear.h"

namespace qround {
namespace {

constexpr int64_t kGroup = 128;
constexpr int64_t kRowsOfTask = 64;

// Group [begin, begin + kGroup) of a row of values. Returns its scale.
float round_group(const float* values, int64_t begin, int8_t* codes) {
  float largest = 0;
  for (int64_t k = begin; k < begin + kGroup; ++k) largest = std::max(largest, std::abs(values[k]));
  const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
  for (int64_t k = begin; k < begin + kGroup; ++k)
    codes[ops::Int8Weight::place(k)] = static_cast<int8_t>(std::lround(values[k] * inverse));
  return largest / 127.0f;
}

}  // namespace

std::optional<Int8Copy> Int8Copy::of(const ops::Weight& weight, Threads threads) {
  const auto* dense = std::get_if<ops::DenseWeight>(&weight);
  if (dense == nullptr || dense->dtype != DType::bf16 || dense->k % kGroup != 0)
    return std::nullopt;
  Int8Copy copy;
  copy.n_ = dense->n;
  copy.k_ = dense->k;
  const int64_t groups = dense->k / kGroup;
  copy.codes_.resize(static_cast<size_t>(dense->n * dense->k));
  copy.scales_.resize(static_cast<size_t>(dense->n * groups));
  const int64_t tasks = (dense->n + kRowsOfTask - 1) / kRowsOfTask;
  parallel_for(threads, static_cast<size_t>(tasks), [&](size_t task, int) {
    std::vector<float> values(static_cast<size_t>(dense->k));
    const int64_t begin = static_cast<int64_t>(task) * kRowsOfTask;
    for (int64_t n = begin; n < std::min(dense->n, begin + kRowsOfTask); ++n) {
      ops::cpu::dequantize_rows(weight, n, n + 1, values.data());
      for (int64_t group = 0; group < groups; ++group)
        copy.scales_[static_cast<size_t>(n * groups + group)] =
            round_group(values.data(), group * kGroup, copy.codes_.data() + n * dense->k);
    }
  });
  return copy;
}

ops::Weight Int8Copy::weight() const {
  return ops::Int8Weight{
      .codes = codes_.data(), .scales = scales_.data(), .n = n_, .k = k_, .group_size = kGroup};
}

}  // namespace qround
