// Learned rounding of a job, step by step, with what a person sees of it.
#pragma once

#include <atomic>
#include <filesystem>
#include <vector>

#include "base/progress.h"
#include "checkpoint/partial_shards.h"
#include "quant/background_lane.h"
#include "quant/block_cascade.h"
#include "quant/calibration.h"
#include "quant/job.h"

namespace qround::quant {

// The calibration tokens of a job with a recipe.
CalibrationData load_calibration(const PlannedJob& job);

class JobTuning {
 public:
  // References must outlive the object. `folder` is as in Placement. Progress advances by
  // iterations.
  JobTuning(const PlannedJob& job, const CalibrationData& data, const std::filesystem::path& folder,
            Progress& progress, const std::atomic<bool>* stop);

  // Whether the calibration sequences pass through this step: a text block, or one of the MTP head
  // that becomes int4.
  static bool passes(const ExportStep& step);

  // A step that passes() and that an earlier run wrote.
  void replay(const ExportStep& step, const PartialShards& shards);

  // A step that passes(); cascade() then has its rounding. Throws Error of kind `interrupted`.
  BlockRecord tune(const ExportStep& step);
  const BlockCascade& cascade() const { return cascade_; }

  // The most that was taken of a device's memory so far; 0 on hosts.
  uint64_t peak_device_bytes() const { return meter_.peak_bytes(); }

  // One line about a tuned step; the errors are those of its int4 maps.
  void show(const ExportStep& step, const BlockRecord& record,
            const std::vector<double>& relative_errors);

 private:
  // The step after this one that passes(), or null.
  const ExportStep* step_after(const ExportStep& step) const;
  void prefetch(const ExportStep& step);

  const PlannedJob& job_;
  Progress& progress_;
  const std::atomic<bool>* stop_;
  // Of a device: what is planned is kept.
  ops::MemoryMeter meter_;
  ops::Memory memory_;
  ops::OpTable table_;
  ops::Workspace workspace_;
  BlockCascade cascade_;
  BackgroundLane reading_;  // asking for pages may wait for the disk
};

}  // namespace qround::quant
