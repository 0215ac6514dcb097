// Rounding with searched scales: against auto-round's recorded scales, and as a job.
#include "quant/optimized_rtn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/half.h"
#include "checkpoint/safetensors.h"
#include "ops/full_range_int4.h"
#include "quant/block_tuner.h"
#include "quant/calibration.h"
#include "quant/rare_experts.h"
#include "tests/quant/job_fixture.h"

namespace qround::quant {
namespace {

// Sums are rounded in another order there: two scales whose errors agree to the last digits may win
// either way.
TEST(OptimizedRtn, FindsTheScalesOfAutoRound) {
  const SafetensorsFile goldens(std::filesystem::path(QROUND_SOURCE_DIR) /
                                "tests/data/quant/search.safetensors");
  for (const std::string name : {"uniform", "weighted", "outliers"}) {
    const TensorView weight = goldens.view(name + ".weight");
    const std::vector<float> scales = to_f32(goldens.view(name + ".scale"));
    const std::vector<float> qdq = to_f32(goldens.view(name + ".qdq"));
    std::vector<float> importance(static_cast<size_t>(weight.shape[1]), 1.0f);
    if (name != "uniform") importance = to_f32(goldens.view(name + ".importance"));
    const int64_t n = weight.shape[0], k = weight.shape[1];
    std::vector<uint8_t> codes(static_cast<size_t>(n * k));
    std::vector<uint16_t> searched(scales.size());
    ops::cpu::search_rtn({weight.dtype, weight.data, n, k}, {.begin = 0,
                                                             .end = n,
                                                             .grid = ops::ScaleGrid::autoround,
                                                             .importance = importance.data(),
                                                             .codes = codes.data(),
                                                             .scales = searched.data()});
    int n_equal = 0;
    for (size_t group = 0; group < scales.size(); ++group) {
      if (searched[group] != f32_to_f16(scales[group])) continue;
      ++n_equal;
      for (size_t i = group * 128; i < (group + 1) * 128; ++i)
        EXPECT_NEAR(scales[group] * static_cast<float>(codes[i] + ops::kLowestCode), qdq[i],
                    1e-6f * std::fabs(qdq[i]))
            << name << i;
    }
    EXPECT_GE(n_equal, static_cast<int>(scales.size()) - 1) << name << " of " << scales.size();
  }
}

double mean_error(const Report& report, std::string_view kind) {
  for (const ErrorSummary& error : report.errors)
    if (error.kind == kind) return error.mean;
  return 0;
}

TEST(OptimizedRtn, WithoutTextComesCloserToTheWeightsThanPlainRounding) {
  const TestDirectory directory;
  const Report plain = quantize(job_spec(pocket(), directory / "plain"));
  JobSpec spec = job_spec(pocket(), directory / "searched");
  spec.search = ops::ScaleGrid::bf16;
  const Report searched = quantize(spec);
  EXPECT_EQ(searched.rule_errors(), 0);
  ASSERT_FALSE(searched.errors.empty());
  for (const ErrorSummary& error : searched.errors)
    EXPECT_LT(error.mean, 0.97 * mean_error(plain, error.kind)) << error.kind;
}

// One pass over text, without tuning.
JobSpec with_text(const std::filesystem::path& output, int64_t length, Start start) {
  JobSpec spec = job_spec(pocket(), output);
  spec.recipe = recipe_by_name("default");
  start_at(*spec.recipe, start);
  spec.recipe->iterations = 0;
  spec.recipe->samples = 16;
  spec.recipe->length = length;
  spec.recipe->held_out = 4;
  spec.calibration.data = (pocket() / "calibration.jsonl").string();
  return spec;
}

TEST(OptimizedRtn, WithTextLowersTheErrorOfEveryBlock) {
  const TestDirectory directory;
  const Report report = quantize(with_text(directory / "out", 64, Start::nearest));
  EXPECT_EQ(report.rule_errors(), 0);
  const Json tuning = report.tuning;
  ASSERT_EQ(tuning.at("blocks").as_array().size(), 4u);
  for (const Json& block : tuning.at("blocks").as_array())
    EXPECT_LT(block.at("loss_after").as_double(), 0.98 * block.at("loss_before").as_double());
  const Json config = Json::parse_file(directory / "out/config.json").at("quantization_config");
  EXPECT_EQ(config.at("iters").as_int(), 0);
  EXPECT_TRUE(config.at("enable_opt_rtn").as_bool());
}

TEST(OptimizedRtn, IsBeatenByErrorFeedbackInEveryBlock) {
  const TestDirectory directory;
  const auto spec = [&](const char* name, Start start) {
    JobSpec of_start = with_text(directory / name, 128, start);
    of_start.recipe->samples = 32;
    return of_start;
  };
  const Report searched = quantize(spec("searched", Start::nearest));
  const Report fed_back = quantize(spec("feedback", Start::feedback));
  EXPECT_EQ(fed_back.rule_errors(), 0);
  for (size_t block = 0; block < 4; ++block) {
    const auto after = [&](const Report& report) {
      return report.tuning.at("blocks").as_array().at(block).at("loss_after").as_double();
    };
    EXPECT_LT(after(fed_back), 0.95 * after(searched)) << block;
  }
  EXPECT_GT(
      fed_back.tuning.at("blocks").as_array().at(0).at("expert_tokens").as_array().at(0).as_int(),
      0);
  // "iters": 0 would have `verify` expect nearest codes.
  const Json config = Json::parse_file(directory / "feedback/config.json");
  EXPECT_EQ(config.at("quantization_config").find("iters"), nullptr);
}

// A learned rounding of pocket, short, with the router of its first block as given.
class RareExperts : public testing::Test {
 protected:
  RareExperts()
      : checkpoint_(Checkpoint::open(pocket())),
        config_(parse_model_config(checkpoint_.config(), "config.json")),
        table_(TensorTable::of(config_)),
        weights_(load_block(checkpoint_, config_, table_, Part::text, 0)),
        executor_{ops::select_backend(""), {Threads{2}, workspace_}} {}

  std::vector<TunedLinear> expert_maps() const {
    std::vector<TunedLinear> maps;
    for (int64_t expert = 0; expert < config_.moe->experts; ++expert) {
      for (const Role role : {Role::expert_gate, Role::expert_up, Role::expert_down}) {
        const Parameter& p = *table_.find(Part::text, 0, role, expert);
        maps.push_back(
            {{role, expert}, p.module, std::get<ops::DenseWeight>(stored_weight(checkpoint_, p))});
      }
    }
    return maps;
  }

  // Logits l, -l and zeros: the larger of the first two, and the first of the zeros.
  void route_to_three_experts() {
    const int64_t hidden = config_.hidden;
    router_.assign(static_cast<size_t>(config_.moe->experts * hidden), 0.0f);
    for (int64_t i = 0; i < hidden; ++i) {
      router_[static_cast<size_t>(i)] = i % 2 == 0 ? 0.1f : -0.1f;
      router_[static_cast<size_t>(hidden + i)] = -router_[static_cast<size_t>(i)];
    }
    std::get<MoeWeights>(weights_.feed_forward).router =
        ops::DenseWeight{DType::f32, router_.data(), config_.moe->experts, hidden};
  }

  TuneRecipe recipe() const {
    TuneRecipe recipe;
    recipe.iterations = 8;
    recipe.samples = 12;
    recipe.length = 48;
    recipe.batch = 4;
    recipe.held_out = 4;
    recipe.learning_rate = 0.02;
    return recipe;
  }

  void fill_streams(const TuneRecipe& recipe) {
    const CalibrationData data = load_calibration(
        {.data = (pocket() / "calibration.jsonl").string(), .samples = 12, .length = 48}, pocket());
    const TensorView embedding = checkpoint_.view("model.language_model.embed_tokens.weight");
    for (size_t i = 0; i < data.tokens.size(); ++i)
      to_f32(embedding.slice(data.tokens[i]),
             inputs_.host().sample(0) + static_cast<int64_t>(i) * config_.hidden);
    std::copy_n(inputs_.host().sample(0), 12 * inputs_.floats(), targets_.host().sample(0));
    forward_samples(config_, weights_, targets_, {recipe.batch, recipe.length}, executor_);
  }

  Checkpoint checkpoint_;
  ModelConfig config_;
  TensorTable table_;
  BlockWeights weights_;
  std::vector<float> router_;
  ops::Workspace workspace_;
  Executor executor_;
  SampleStore inputs_{ActivationStore(12, 48 * config_.hidden)},
      targets_{ActivationStore(12, 48 * config_.hidden)};
};

TEST_F(RareExperts, AreReportedAndErrNoMoreThanSearchedScalesDo) {
  route_to_three_experts();
  const TuneRecipe tuned = recipe();
  fill_streams(tuned);
  BlockTuner tuner(config_, {weights_, {}}, expert_maps(), 128, tuned, executor_);
  const TuneResult result = tuner.run({tuned.length, inputs_, targets_}, 0, nullptr);
  EXPECT_EQ(result.rare_experts, (std::vector<int64_t>{3, 4, 5, 6, 7}));
  // Their down maps, of which nothing is known, had searched scales from the start.
  EXPECT_EQ(result.searched_maps, 5 * 2);

  const Importance importance = measure_importance(config_, weights_, expert_maps(), inputs_,
                                                   {4, 48}, TokenWeight::routing, executor_);
  const RoundingSnapshot searched =
      search_rounding(tuner.state(), importance, ops::ScaleGrid::bf16, executor_.ops);
  for (size_t map = 0; map < tuner.state().linears().size(); ++map) {
    if (tuner.state().linears()[map].id.expert < 3) continue;
    EXPECT_EQ(importance.tokens(map), 0);
    EXPECT_LE(weighted_error(tuner.state(), map, importance, executor_.ops, result.rounding),
              weighted_error(tuner.state(), map, importance, executor_.ops, searched))
        << tuner.state().linears()[map].name;
  }
}

TEST_F(RareExperts, AreNoneWhereEveryExpertGetsItsTokens) {
  TuneRecipe tuned = recipe();
  tuned.few_tokens = 16;
  fill_streams(tuned);
  BlockTuner tuner(config_, {weights_, {}}, expert_maps(), 128, tuned, executor_);
  const TuneResult result = tuner.run({tuned.length, inputs_, targets_}, 0, nullptr);
  EXPECT_TRUE(result.rare_experts.empty());
  EXPECT_EQ(result.searched_maps, 0);
}

TEST(MtpTuning, LearnsTheRoundingOfTheHeadFromItsTrueInputs) {
  const TestDirectory directory;
  JobSpec spec = with_text(directory / "out", 64, Start::nearest);
  spec.recipe->iterations = 10;
  spec.recipe->learning_rate = 0.02;
  spec.recipe->batch = 4;
  spec.policy.rules = {{PolicyRule::Action::quantize, "mtp.layers.*"}};
  const Report report = quantize(spec);
  EXPECT_EQ(report.rule_errors(), 0);
  EXPECT_EQ(report.mtp_linears_quantized, 8 * 3 + 4 + 3);
  const Json& head = report.tuning.at("blocks").as_array().back();
  EXPECT_EQ(head.at("part").as_string(), "mtp");
  EXPECT_EQ(head.at("losses").as_array().size(), 10u);
  EXPECT_LT(head.at("loss_after").as_double(), 0.95 * head.at("loss_before").as_double());
}

}  // namespace
}  // namespace qround::quant
