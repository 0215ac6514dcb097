// Puts a job's tensors into shards, in the order they are pushed, on a thread of its own.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>

#include "base/progress.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/shard_writer.h"
#include "quant/background_lane.h"
#include "quant/export_plan.h"
#include "quant/packed_batch.h"

namespace qround::quant {

// For one owner thread. Errors of the writing thread are thrown by a later call.
class ExportStream {
 public:
  // All references must outlive the stream. Progress advances by bytes read from the source.
  ExportStream(const Checkpoint& source, ShardWriter& writer, Progress& progress,
               const std::atomic<bool>* stop);

  // Copies the item's tensor and gives its source pages back. The item must outlive the stream.
  void copy(const ExportItem& item);

  // An empty batch to fill; waits until one of the two is written. Valid until push.
  PackedBatch& free_batch();
  void push(PackedBatch& batch);  // the one free_batch gave last

  // Makes durable what was pushed so far, then calls `record`, on the stream's thread, with the
  // checksum of the batches pushed since the last commit.
  void commit(std::function<void(uint32_t crc32)> record);

  void wait();  // until everything is written

 private:
  void copy_now(const ExportItem& item);
  void write_now(const PackedBatch& batch);
  void check_stop() const;

  const Checkpoint& source_;
  ShardWriter& writer_;
  Progress& progress_;
  const std::atomic<bool>* stop_;
  uint32_t crc32_ = 0;
  std::array<PackedBatch, 2> batches_;
  std::array<BackgroundLane::Ticket, 2> written_{};
  size_t next_batch_ = 0;
  BackgroundLane lane_;  // last: its tasks use the members above
};

}  // namespace qround::quant
