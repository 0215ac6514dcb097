#include "model/int4_copy.h"

#include <algorithm>
#include <atomic>

#include "checkpoint/gptq_int4.h"
#include "ops/quantize_rtn.h"

namespace qround {
namespace {

constexpr int64_t kUnitRows = 64;

int64_t group_size_for(int64_t inputs) {
  for (const int64_t size : {128, 64, 32})
    if (inputs % size == 0) return size;
  return 0;
}

}  // namespace

std::optional<Int4Copy> Int4Copy::of(const ops::Weight& weight, Threads threads) {
  const auto* dense = std::get_if<ops::DenseWeight>(&weight);
  if (dense == nullptr) return std::nullopt;
  const int64_t group_size = group_size_for(dense->k);
  if (group_size == 0) return std::nullopt;
  Int4Copy copy;
  copy.n_ = dense->n;
  copy.k_ = dense->k;
  copy.group_size_ = group_size;
  const Int4Shape shape{.out = dense->n, .in = dense->k, .group_size = group_size};
  copy.qweight_.resize(static_cast<size_t>(dense->k / kCodesPerWord * dense->n));
  copy.qzeros_.assign(static_cast<size_t>(shape.n_groups() * shape.zero_words()), kSymmetricZeros);
  copy.scales_.resize(static_cast<size_t>(shape.n_groups() * dense->n));
  std::atomic<bool> representable = true;
  const int64_t n_units = (dense->n + kUnitRows - 1) / kUnitRows;
  parallel_for(threads, static_cast<size_t>(n_units), [&](size_t unit, int) {
    const int64_t begin = static_cast<int64_t>(unit) * kUnitRows;
    const RowRange rows{begin, std::min(dense->n, begin + kUnitRows)};
    std::vector<uint8_t> codes(static_cast<size_t>(rows.count() * shape.in));
    std::vector<uint16_t> scales(static_cast<size_t>(rows.count() * shape.n_groups()));
    const ops::RtnSums sums = ops::cpu::quantize_rtn(*dense, {.begin = rows.begin,
                                                              .end = rows.end,
                                                              .group_size = group_size,
                                                              .codes = codes.data(),
                                                              .scales = scales.data()});
    if (!sums.representable) representable = false;
    pack_codes(shape, rows, codes.data(), copy.qweight_.data());
    pack_scales(shape, rows, scales.data(), copy.scales_.data());
  });
  if (!representable) return std::nullopt;
  return copy;
}

ops::Weight Int4Copy::weight() const {
  return ops::Int4Weight{.qweight = reinterpret_cast<const uint32_t*>(qweight_.data()),
                         .qzeros = reinterpret_cast<const uint32_t*>(qzeros_.data()),
                         .scales = scales_.data(),
                         .n = n_,
                         .k = k_,
                         .group_size = group_size_};
}

uint64_t Int4Copy::bytes() const {
  return 4 * (qweight_.size() + qzeros_.size()) + 2 * scales_.size();
}

uint64_t Int4Copy::bytes_of(int64_t outputs, int64_t inputs) {
  const int64_t group_size = group_size_for(inputs);
  if (group_size == 0) return 0;
  const Int4Shape shape{.out = outputs, .in = inputs, .group_size = group_size};
  return static_cast<uint64_t>(inputs / 2 * outputs + 4 * shape.n_groups() * shape.zero_words() +
                               2 * shape.n_groups() * outputs);
}

}  // namespace qround
