#include "quant/export_stream.h"

#include <algorithm>
#include <utility>

#include "base/crc32.h"
#include "base/error.h"

namespace qround::quant {
namespace {

// Tensors are copied in pieces: few pages are mapped at a time, and Ctrl-C is noticed.
constexpr uint64_t kPieceBytes = uint64_t{8} << 20;

template <typename T>
std::span<const std::byte> bytes_of(const T* data, const Shape& shape) {
  return std::as_bytes(std::span(data, static_cast<size_t>(element_count(shape))));
}

}  // namespace

ExportStream::ExportStream(const Checkpoint& source, ShardWriter& writer, Progress& progress,
                           const std::atomic<bool>* stop)
    : source_(source), writer_(writer), progress_(progress), stop_(stop) {}

void ExportStream::copy(const ExportItem& item) {
  lane_.push([this, &item] { copy_now(item); });
}

PackedBatch& ExportStream::free_batch() {
  check_stop();
  lane_.wait(written_[next_batch_]);
  return batches_[next_batch_];
}

void ExportStream::push(PackedBatch& batch) {
  written_[next_batch_] = lane_.push([this, &batch] { write_now(batch); });
  next_batch_ = 1 - next_batch_;
}

void ExportStream::commit(std::function<void(uint32_t)> record) {
  lane_.push([this, record = std::move(record)] {
    writer_.sync();
    record(std::exchange(crc32_, 0));
  });
}

void ExportStream::wait() { lane_.wait_all(); }

void ExportStream::copy_now(const ExportItem& item) {
  const uint64_t n_bytes = item.source.bytes();
  TensorEntry piece = item.pages;
  for (uint64_t offset = 0; offset < n_bytes; offset += kPieceBytes) {
    check_stop();
    const uint64_t length = std::min(kPieceBytes, n_bytes - offset);
    piece.begin = item.pages.begin + offset;
    piece.end = piece.begin + length;
    writer_.append(item.name, {item.source.data + offset, length});
    source_.files()[piece.file_idx].release(piece);
    progress_.advance(length);
  }
}

void ExportStream::write_now(const PackedBatch& batch) {
  for (const PackedLinear& linear : batch.linears()) {
    check_stop();
    const ExportItem& item = *linear.item;
    const auto append = [&](const std::string& name, std::span<const std::byte> bytes) {
      writer_.append(name, bytes);
      crc32_ = crc32(bytes, crc32_);
    };
    append(qweight_name(item.name), bytes_of(linear.qweight, item.shape.qweight()));
    append(qzeros_name(item.name), bytes_of(linear.qzeros, item.shape.qzeros()));
    append(scales_name(item.name), bytes_of(linear.scales, item.shape.scales()));
    progress_.advance(item.source.bytes());
  }
}

void ExportStream::check_stop() const {
  if (stop_ != nullptr && *stop_) throw Error("interrupted", ErrorKind::interrupted);
}

}  // namespace qround::quant
