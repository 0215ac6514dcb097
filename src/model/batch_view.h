// The next rows of several sequences, and what operations read of them.
#pragma once

#include <cstdint>
#include <span>

#include "model/sequence_state.h"
#include "ops/backend.h"

namespace qround {

// The next rows of one sequence in a batch.
struct SequenceRows {
  SequenceState* state = nullptr;
  int64_t tokens = 0;
  int64_t first_position = 0;  // of the first of them
  bool tentative = false;      // at most state->max_tentative() tokens then
};

// A batch as operations read it: pointers into the backend's memory.
struct BatchView {
  ops::SequenceBatch sequences;
  const int64_t* positions = nullptr;          // [T]
  const float* inverse_frequencies = nullptr;  // [R/2], see ops::RotaryArgs
  const int32_t* ids = nullptr;                // [T], or null

  int64_t rows() const { return sequences.rows; }
};

// Brings it there, with one copy, into memory of `scope`. The states have begun the rows
// (SequenceState::begin). `ids` may be empty.
BatchView make_batch_view(const ModelConfig& config, std::span<const SequenceRows> batch,
                          std::span<const int32_t> ids, ops::Workspace::Scope& scope,
                          const ops::Memory& memory);

}  // namespace qround
