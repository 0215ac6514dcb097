#include "quant/tune_recipe.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace qround::quant {
namespace {

struct RecipeRow {
  const char* name;
  int64_t iterations, samples;
};

// auto-round's recipes of the same names; `card` is the published Qwen3.6-35B-A3B checkpoint's.
constexpr std::array kRecipes = {
    RecipeRow{"light", 50, 128},
    RecipeRow{"default", 200, 128},
    RecipeRow{"best", 1000, 512},
    RecipeRow{"card", 400, 256},
};

constexpr double kMostUnits = std::numeric_limits<int16_t>::max();
// Error feedback may move a weight so far at the start.
constexpr double kStartCodes = 1;
// Searched scales may exceed plain rounding's.
constexpr float kMostOfSearched = 2;

void require(bool valid, const char* name, const std::string& expected, double actual) {
  if (valid) return;
  throw Error(fmt::format("bad value of {}", name))
      .expected(expected)
      .actual(format_double(actual));
}

const char* clamp_name(ops::ClampRule rule) {
  switch (rule) {
    case ops::ClampRule::closed:
      return "closed";
    case ops::ClampRule::open:
      return "open";
    case ops::ClampRule::inward:
      return "inward";
  }
  return "";
}

const char* start_name(Start start) {
  switch (start) {
    case Start::nearest:
      return "nearest";
    case Start::feedback:
      return "feedback";
  }
  return "";
}

const char* grid_name(ops::ScaleGrid grid) {
  return grid == ops::ScaleGrid::bf16 ? "bf16" : "autoround";
}

const char* selection_name(Selection selection) {
  switch (selection) {
    case Selection::held_out:
      return "held_out";
    case Selection::mini_batch:
      return "mini_batch";
    case Selection::last:
      return "last";
  }
  return "";
}

}  // namespace

int64_t TuneRecipe::units_per_step_drop() const {
  if (iterations == 0) return 1;
  // In steps' drops, of which T / rate are a code.
  const auto steps = static_cast<double>(iterations);
  const double at_start = start == Start::feedback ? kStartCodes * steps / rate() : 0;
  return static_cast<int64_t>((at_start + steps * (steps + 1) / 2) / kMostUnits) + 1;
}

int16_t TuneRecipe::most_start_units() const {
  return static_cast<int16_t>(std::min(kStartCodes / rule().v_unit, kMostUnits));
}

int16_t TuneRecipe::v_units(int64_t iteration) const {
  // Differences of rounded sums, so that what rounding takes from a step goes to the next.
  const auto way = [this](int64_t steps) {
    const auto drops = static_cast<double>(steps * (2 * iterations - steps + 1) / 2);
    return std::floor(drops / static_cast<double>(units_per_step_drop()));
  };
  return static_cast<int16_t>(way(iteration + 1) - way(iteration));
}

float TuneRecipe::factor_step(int64_t iteration) const {
  return static_cast<float>(rate_of_factors() * static_cast<double>(iterations - iteration) /
                            static_cast<double>(iterations));
}

ops::SignRoundRule TuneRecipe::rule() const {
  const double unit = iterations == 0 ? kStartCodes / kMostUnits
                                      : rate() / static_cast<double>(iterations) *
                                            static_cast<double>(units_per_step_drop());
  return {.v_unit = static_cast<float>(unit),
          .clamp = clamp,
          .bf16_scales = bf16_scales,
          .f16_scale_gradient = f16_scale_gradient,
          .max_factor = start == Start::feedback ? kMostOfSearched : 1.0f};
}

void TuneRecipe::validate() const {
  require(iterations >= 0 && iterations <= 10'000, "--iters", "0 to 10000",
          static_cast<double>(iterations));
  require(samples >= 1, "--nsamples", "1 or more", static_cast<double>(samples));
  require(length >= 2, "--seqlen", "2 or more", static_cast<double>(length));
  const int64_t trained = selection == Selection::held_out ? samples - held_out : samples;
  require(batch >= 1 && batch <= trained, "--batch-size",
          fmt::format("1 to {}, the sequences trained on", trained), static_cast<double>(batch));
  require((rate() > 0 && rate() <= 1) || iterations == 0, "--lr", "more than 0, at most 1", rate());
  require(rate_of_factors() <= 1, "--minmax-lr", "at most 1", rate_of_factors());
  require(held_out >= 0 && held_out < samples, "--held-out", fmt::format("0 to {}", samples - 1),
          static_cast<double>(held_out));
}

Json to_json(const TuneRecipe& recipe) {
  if (recipe.iterations == 0 && recipe.start == Start::nearest) {
    return Json::object(
        {{"nsamples", recipe.samples},
         {"seqlen", recipe.length},
         {"seed", static_cast<int64_t>(recipe.seed)},
         {"bf16_products", recipe.bf16_products},
         {"scales", grid_name(recipe.grid)},
         {"tokens", recipe.token_weight == TokenWeight::routing ? "by routing weight" : "alike"}});
  }
  return Json::object({{"name", recipe.name},
                       {"iters", recipe.iterations},
                       {"nsamples", recipe.samples},
                       {"seqlen", recipe.length},
                       {"batch_size", recipe.batch},
                       {"lr", recipe.rate()},
                       {"minmax_lr", recipe.rate_of_factors()},
                       {"seed", static_cast<int64_t>(recipe.seed)},
                       {"start", start_name(recipe.start)},
                       {"loss", recipe.loss_weight == LossWeight::plain ? "plain" : "relative"},
                       {"selection", selection_name(recipe.selection)},
                       {"held_out", recipe.selection == Selection::held_out ? recipe.held_out : 0},
                       {"few_tokens", recipe.few_tokens},
                       {"clamp", clamp_name(recipe.clamp)},
                       {"bf16_scales", recipe.bf16_scales},
                       {"bf16_weights", recipe.bf16_weights},
                       {"bf16_products", recipe.bf16_products},
                       {"f16_scale_gradient", recipe.f16_scale_gradient}});
}

TuneRecipe recipe_by_name(std::string_view name) {
  std::string known;
  for (const RecipeRow& row : kRecipes) {
    if (name == row.name) {
      TuneRecipe recipe;
      recipe.name = row.name;
      recipe.iterations = row.iterations;
      recipe.samples = row.samples;
      return recipe;
    }
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Error("unknown recipe").expected(known).actual(name);
}

void start_at(TuneRecipe& recipe, Start start) {
  if (recipe.start == start) return;
  const TuneRecipe defaults;
  const bool nearest = start == Start::nearest;
  recipe.start = start;
  recipe.run_rate = nearest ? 1.5 : defaults.run_rate;
  recipe.factor_run_rate = nearest ? 1 : defaults.factor_run_rate;
  // auto-round's recipe of that name has a step of its own.
  if (nearest && recipe.name == "light" && recipe.learning_rate == 0) recipe.learning_rate = 5e-3;
}

void make_compatible_with_autoround(TuneRecipe& recipe) {
  start_at(recipe, Start::nearest);
  recipe.run_rate = 1;
  recipe.loss_weight = LossWeight::plain;
  recipe.selection = Selection::mini_batch;
  recipe.clamp = ops::ClampRule::open;
  recipe.bf16_scales = false;
  recipe.bf16_weights = false;  // without BF16 arithmetic, as on a CPU, it tunes in F32 throughout
  recipe.f16_scale_gradient = true;
  recipe.grid = ops::ScaleGrid::autoround;
  recipe.token_weight = TokenWeight::equal;
  recipe.few_tokens = 0;
}

}  // namespace qround::quant
