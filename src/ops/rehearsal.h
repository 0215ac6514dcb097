// Going through work on a device with nothing computed and no device there, to find out exactly
// what memory it takes: the very code that will do the work runs, on a table whose memory only
// counts and on a stream where operations take their scratch but enqueue nothing.
//
//   Rehearsal rehearsal(backend);
//   BlockTraining(config, mixer, batch, *rehearsal.table().memory) ... on
//   rehearsal.context(threads) rehearsal.peak_bytes();
//
// What comes back from the device is zeros. What memory is taken must not depend on it.
#pragma once

#include "ops/backend.h"

namespace qround::ops {

class Rehearsal {
 public:
  // `backend` has a rehearsal stream; it need not be able to run here.
  explicit Rehearsal(const Backend& backend);
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;

  const OpTable& table() const { return table_; }
  // As the work's own context shall be.
  OpContext context(Threads threads, bool many_rows);

  // Of what was rehearsed so far: the most in buffers at a time, and in the workspace.
  uint64_t buffer_bytes() const { return meter_.peak_bytes(); }
  uint64_t workspace_bytes() const { return workspace_.peak_bytes(); }

 private:
  MemoryMeter meter_;
  Memory memory_, uncounted_;
  OpTable table_;
  Workspace workspace_;
  Stream* stream_;
};

}  // namespace qround::ops
