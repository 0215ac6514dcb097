// What training one block takes besides its weights, known before anything is allocated.
#pragma once

#include <cstdint>

#include "model/block_training.h"

namespace qround {

struct TrainingMemory {
  int64_t activation_bytes = 0;  // what a BlockTraining owns
  int64_t scratch_bytes = 0;     // the most its passes take from the executor's workspace

  int64_t bytes() const { return activation_bytes + scratch_bytes; }
};

// An upper bound for any backend; the scratch assumes that one expert may get every token.
// `activations`: of the passes.
TrainingMemory training_memory(const ModelConfig& config, MixerKind mixer, TrainingBatch batch,
                               Threads threads, ops::Activations activations);

}  // namespace qround
