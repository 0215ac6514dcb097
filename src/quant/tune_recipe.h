// How a block is tuned: the numbers of a SignRound run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "ops/search_rtn.h"
#include "ops/sign_round.h"
#include "ops/workspace.h"

namespace qround::quant {

// Which of the parameter sets a run passes through is kept.
enum class Selection {
  held_out,    // the best on sequences of the calibration set that are not trained on, final state
               // included
  mini_batch,  // the best on its own mini-batch, final state never tried: auto-round's way
  last,        // the final state
};

// Whether a token counts for an expert's importance matrix by the square of its routing weight, as
// its share of the block's output does, or like any other.
enum class TokenWeight { routing, equal };

// Where the parameters start.
enum class Start {
  nearest,   // rounding to nearest, plain scales: auto-round's way
  feedback,  // searched scales, codes by error feedback (quant/starting_point.h)
};

// What the squared error of a token is divided by.
enum class LossWeight {
  plain,     // nothing: auto-round's way. Tokens of large norm decide.
  relative,  // the mean square of its target: every layer normalizes a token before it reads it, so
             // an error counts in proportion to what it lies on
};

struct TuneRecipe {
  std::string name = "default";
  // T; 0: rounding stays where it starts, scales being searched for `nearest` too (optimized RTN).
  int64_t iterations = 200;
  int64_t samples = 128;  // calibration sequences
  int64_t length = 2048;  // tokens of each
  int64_t batch = 8;      // sequences per iteration
  Start start = Start::feedback;
  double learning_rate = 0;    // the first step of v; 0: run_rate / T
  double factor_rate = 0;      // of alpha and beta; 0: as below
  double run_rate = 0.2;       // of v, where learning_rate is 0
  double factor_run_rate = 0;  // of alpha and beta: 0: they stay. Else they have v's learning_rate,
                               // or factor_run_rate / T
  uint64_t seed = 42;
  LossWeight loss_weight = LossWeight::relative;
  Selection selection = Selection::held_out;
  int64_t held_out = 8;      // sequences, of `samples`
  int64_t evaluations = 10;  // of the held-out sequences, evenly over the second half of the run
  ops::ClampRule clamp = ops::ClampRule::inward;
  bool bf16_scales = true;
  bool bf16_weights = true;  // tune with weights rounded to BF16, as servers compute with them
  // Linear maps read BF16 inputs and gradients as well, with f32 sums, in tuning and in the passes
  // between blocks: twice as fast on processors with such products.
  bool bf16_products = false;
  bool f16_scale_gradient = false;
  // Experts that fewer tokens of the calibration set reach get searched scales where those are
  // better (quant/rare_experts.h); 0: never.
  int64_t few_tokens = 128;
  ops::ScaleGrid grid = ops::ScaleGrid::bf16;  // of searched scales
  TokenWeight token_weight = TokenWeight::routing;

  // The rule of v's integer units: lr_t = units(t) * v_unit, where step t of T has (T - t) / q
  // units, rounded so that sums are right, and q is 1 unless the start and the sum of all steps
  // would leave 16 bits.
  double rate() const {
    if (iterations == 0) return 0;
    if (learning_rate > 0) return learning_rate;
    return std::min(1.0, run_rate / static_cast<double>(iterations));
  }
  double rate_of_factors() const {
    if (iterations == 0) return 0;
    if (factor_rate > 0) return factor_rate;
    if (factor_run_rate > 0 && learning_rate > 0) return learning_rate;
    return std::min(1.0, factor_run_rate / static_cast<double>(iterations));
  }
  int64_t units_per_step_drop() const;  // q
  ops::Activations activations() const {
    return bf16_products ? ops::Activations::bf16 : ops::Activations::f32;
  }
  ops::SignRoundRule rule() const;
  int16_t v_units(int64_t iteration) const;
  float factor_step(int64_t iteration) const;
  // Of v's magnitude at the start.
  int16_t most_start_units() const;

  // Throws Error naming the number that is out of range.
  void validate() const;
};

Json to_json(const TuneRecipe& recipe);

// "light", "default", "best" or "card" (docs/commands.md). Throws Error listing them for another
// name.
TuneRecipe recipe_by_name(std::string_view name);
// Sets the start, and the steps that go with it unless they are overridden: from rounding to
// nearest a weight must be able to reach the next code, from error feedback a step too large undoes
// it.
void start_at(TuneRecipe& recipe, Start start);
// Sets what auto-round does where we do otherwise by default; numbers of the run stay.
void make_compatible_with_autoround(TuneRecipe& recipe);

}  // namespace qround::quant
