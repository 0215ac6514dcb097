#include "cli/tune_options.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "ops/backend.h"

namespace qround {
namespace {

// An option that overrides one number of the recipe, whichever recipe it turns out to be.
template <typename Number>
void add_override(CLI::App& app, TuneOptions& options, const char* flag,
                  Number quant::TuneRecipe::* member, const char* text) {
  app.add_option_function<Number>(
      flag,
      [&options, member](const Number& value) {
        options.overrides.emplace_back(
            [member, value](quant::TuneRecipe& recipe) { recipe.*member = value; });
      },
      text);
}

quant::Start start_named(const std::string& name) {
  return name == "nearest" ? quant::Start::nearest : quant::Start::feedback;
}

}  // namespace

void TuneOptions::apply(quant::JobSpec& spec) const {
  quant::TuneRecipe tuned = quant::recipe_by_name(recipe);
  if (!compatible_with.empty()) quant::make_compatible_with_autoround(tuned);
  if (!start.empty()) quant::start_at(tuned, start_named(start));
  for (const auto& set : overrides) set(tuned);
  tuned.bf16_weights = tuned.bf16_weights || products == "bf16";
  tuned.bf16_products =
      products == "bf16" || (products == "auto" && tuned.bf16_weights &&
                             ops::has_fast_bf16(ops::select_backend(spec.backend)));
  if (optimized_rtn && (!plain || only_feedback())) {
    throw Error("--opt-rtn searches the scales of rounding to nearest, and nothing else")
        .hint(plain ? "leave --opt-rtn or --start feedback out"
                    : "add --iters 0, or leave --opt-rtn out");
  }
  spec.mtp_rtn = mtp_rtn;
  if (plain && !optimized_rtn && !only_feedback()) return;
  if (optimized_rtn && calibration.data.empty()) {
    spec.search = tuned.grid;
    return;
  }
  if (plain) tuned.iterations = 0;
  if (optimized_rtn) quant::start_at(tuned, quant::Start::nearest);
  spec.recipe = tuned;
  spec.calibration = calibration;
}

void TuneOptions::require_data() const {
  if ((plain && !only_feedback()) || !calibration.data.empty()) return;
  throw Error("learned rounding needs calibration text")
      .hint(
          "name a file with --data (jsonl with \"text\", json or txt), or round plainly with "
          "--iters 0");
}

void add_tune_options(CLI::App& app, TuneOptions& options) {
  app.add_option("--recipe", options.recipe,
                 "light (50 iterations), default (200), best (1000) or card (400, 256 samples)")
      ->capture_default_str();
  app.add_option_function<int64_t>(
      "--iters",
      [&options](const int64_t& value) {
        options.plain = value == 0;
        if (value != 0)
          options.overrides.emplace_back(
              [value](quant::TuneRecipe& recipe) { recipe.iterations = value; });
      },
      "Tuning iterations per block, instead of the recipe's; 0: rounding to nearest, or where "
      "--start says");
  app.add_flag("--opt-rtn", options.optimized_rtn,
               "With --iters 0: search the scales; with --data by the importance of inputs");
  app.add_flag("--mtp-rtn", options.mtp_rtn,
               "With --iters 0: let --quantize round the MTP head to nearest");
  app.add_option(
      "--data", options.calibration.data,
      "Calibration text: NAME[:num=N][:concat][:apply_chat_template][,NAME...]; a jsonl, json or "
      "txt file, or a data set in the Hugging Face cache");
  add_override(app, options, "--nsamples", &quant::TuneRecipe::samples, "Calibration sequences");
  add_override(app, options, "--seqlen", &quant::TuneRecipe::length, "Tokens of each");
  add_override(app, options, "--batch-size", &quant::TuneRecipe::batch, "Sequences per iteration");
  add_override(app, options, "--lr", &quant::TuneRecipe::learning_rate,
               "First step of the rounding offsets; default 0.2 / iterations");
  add_override(app, options, "--minmax-lr", &quant::TuneRecipe::factor_rate,
               "First step of the range factors; default 0 (searched scales stay), or with --start "
               "nearest as --lr, else 1 / iterations");
  app.add_option(
         "--start", options.start,
         "Where tuning starts: feedback (searched scales, codes that make up for each "
         "other's errors; the default) or nearest. With --iters 0 feedback is all there is: "
         "one pass over the text")
      ->check(CLI::IsMember({"feedback", "nearest"}));
  add_override(app, options, "--held-out", &quant::TuneRecipe::held_out,
               "Sequences kept for choosing the best state");
  add_override(app, options, "--seed", &quant::TuneRecipe::seed, "Seed of every random choice");
  app.add_flag("--pack", options.calibration.pack,
               "Join texts and cut them, instead of using only texts of --seqlen tokens and more");
  app.add_flag("--chat-template", options.calibration.chat_template,
               "Put plain texts through the chat template as user messages");
  app.add_option(
         "--products", options.products,
         "How tuning multiplies: f32, bf16 (sums in f32), or auto: bf16 where the processor "
         "has it")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  app.add_option("--compat", options.compatible_with, "autoround: its rules where ours differ")
      ->check(CLI::IsMember({"autoround"}));
}

}  // namespace qround
