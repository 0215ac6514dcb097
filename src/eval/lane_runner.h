// A lane on the backend that runs it. Hidden states of all windows stay in host memory; where the
// backend has memory of its own, a batch of them goes there and back, and so do the weights of one
// block at a time: networks far larger than the device are compared on it.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "eval/lane.h"

namespace qround::eval {

// What several lanes on the same backends share.
class LaneDevices {
 public:
  // The one named, or the best one in host memory. Throws Error.
  static const ops::OpTable& table(const std::string& backend);
  ops::Workspace& workspace(const ops::Memory& memory);
  // The model without its blocks in `memory`; on the host itself. Valid as long as `model`.
  std::shared_ptr<const Model> outside_blocks(const Model& model, const ops::Memory& memory);

 private:
  std::map<const ops::Memory*, ops::Workspace> workspaces_;
  std::map<std::pair<const Model*, const ops::Memory*>, std::shared_ptr<const Model>> models_;
};

class LaneRunner {
 public:
  // `lane` and `devices` must outlive it. An empty backend of the lane is `backend`.
  LaneRunner(const Lane& lane, const std::string& backend, Threads threads, LaneDevices& devices);

  Threads threads() const { return executor_.context.threads; }

  // The lane's text block `index` for the following calls of block_forward().
  void load_block(int64_t index);
  // As qround::block_forward for sequences of `lengths` tokens. hidden [T, H].
  void block_forward(std::span<const int64_t> lengths, float* hidden,
                     const RouteObserver& on_route) const;
  // The final norm over hidden [rows, H], in place.
  void normalize(int64_t rows, float* hidden) const;
  // logits [rows, vocab] of hidden [rows, H].
  void logits(const float* hidden, int64_t rows, float* logits) const;
  // The MTP head over one sequence from its start: hidden and out [rows, H].
  void mtp_forward(std::span<const int32_t> next_ids, const float* hidden, float* out) const;

 private:
  // run(in, out) on copies of `in` and into a copy of `out` in the backend's memory; on the host on
  // the operands themselves.
  template <class Run>
  void on_device(std::span<const float> in, std::span<float> out, const Run& run) const;

  const Lane& lane_;
  Executor executor_;
  std::shared_ptr<const Model> outside_, head_;
  int64_t block_ = 0;
  ResidentBlock weights_;
};

}  // namespace qround::eval
