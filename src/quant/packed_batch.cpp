#include "quant/packed_batch.h"

#include <algorithm>

namespace qround::quant {
namespace {

// 32-bit words, rounded up to cache lines so that threads do not share one across tensors.
size_t padded_words(int64_t words) { return (static_cast<size_t>(words) + 15) / 16 * 16; }

size_t scale_words(const Int4Shape& shape) {
  return padded_words((element_count(shape.scales()) + 1) / 2);
}

}  // namespace

void PackedBatch::reset(std::span<const ExportItem> items) {
  size_t n_words = 0;
  for (const ExportItem& item : items) {
    const Int4Shape& shape = item.shape;
    n_words += padded_words(element_count(shape.qweight())) +
               padded_words(element_count(shape.qzeros())) + scale_words(shape);
  }
  if (words_.size() < n_words) words_.resize(n_words);
  linears_.clear();
  int32_t* next = words_.data();
  for (const ExportItem& item : items) {
    const Int4Shape& shape = item.shape;
    PackedLinear linear{.item = &item};
    linear.qweight = next;
    linear.qzeros = linear.qweight + padded_words(element_count(shape.qweight()));
    int32_t* scales = linear.qzeros + padded_words(element_count(shape.qzeros()));
    linear.scales = reinterpret_cast<uint16_t*>(scales);
    next = scales + scale_words(shape);
    std::fill_n(linear.qzeros, element_count(shape.qzeros()), kSymmetricZeros);
    linears_.push_back(linear);
  }
}

}  // namespace qround::quant
