// How much the inputs of a block's linear maps matter: the mean square of each over calibration
// tokens ("importance matrix"). An expert's maps see the tokens routed to it alone.
#pragma once

#include <cstdint>
#include <vector>

#include "model/linear_inputs.h"
#include "quant/rounding_state.h"
#include "quant/sample_store.h"

namespace qround::quant {

class Importance {
 public:
  // Nothing seen yet: every input of every map matters alike.
  Importance(const std::vector<TunedLinear>& linears, TokenWeight token_weight);

  // Adds to the maps among `inputs.linears` that are of this object.
  void add(const LinearInputs& inputs, const Executor& executor);

  // [K] of a map: (weighted) mean squares, moved a little towards their mean so that an input that
  // was zero throughout still counts. Null when no token reached the map.
  const float* of(size_t linear_idx) const;
  // That reached the map.
  int64_t tokens(size_t linear_idx) const { return sums_[linear_idx].tokens; }

  // Of each expert, by its gate map; empty without experts among the maps.
  std::vector<int64_t> expert_tokens() const;

  // To be called after the last `add`, before `of`.
  void finish();

 private:
  struct Sums {
    LinearId id;
    int64_t tokens = 0;
    std::vector<double> squares;     // [K]
    std::vector<float> mean_square;  // [K]
  };
  TokenWeight token_weight_;
  std::vector<Sums> sums_;
};

// The first `samples` of a store of block inputs, passed batch.sequences of batch.length tokens at
// a time.
struct CalibrationInputs {
  const SampleStore& store;
  int64_t samples = 0;
  TrainingBatch batch;
};

// Runs the block over them and shows `visit` what its maps read.
void visit_calibration_inputs(const ModelConfig& config, const BlockWeights& weights,
                              const CalibrationInputs& inputs, const LinearInputVisitor& visit,
                              const Executor& executor);

// Of all samples.
Importance measure_importance(const ModelConfig& config, const BlockWeights& weights,
                              const std::vector<TunedLinear>& linears, const SampleStore& inputs,
                              TrainingBatch batch, TokenWeight token_weight,
                              const Executor& executor);

}  // namespace qround::quant
