// Learned rounding against auto-round's recorded gradients, and the tuner on the pocket model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/half.h"
#include "checkpoint/safetensors.h"
#include "model/model.h"
#include "ops/ref/sign_round_element.h"
#include "ops/sign_round_scale.h"
#include "quant/batch_order.h"
#include "quant/block_cascade.h"
#include "quant/calibration.h"
#include "tests/checkpoint/test_directory.h"
#include "tests/ops/on_backend.h"

namespace qround::quant {
namespace {
namespace fs = std::filesystem;

const fs::path kSource = QROUND_SOURCE_DIR;
constexpr int64_t kGroup = 128;

int sign(float value) { return value > 0 ? 1 : value < 0 ? -1 : 0; }

// Every gradient sign of the three recorded cases: the recording was made with the open clamp rule
// and F16 scale gradients.
TEST(SignRoundGradient, SignsOfOffsetsAndFactorsEqualAutoRounds) {
  const SafetensorsFile goldens(kSource / "tests/data/quant/qdq.safetensors");
  const ops::SignRoundRule rule{
      .clamp = ops::ClampRule::open, .bf16_scales = false, .f16_scale_gradient = true};
  for (const std::string name : {"plain", "tuned", "edges"}) {
    const auto read = [&](const char* what) { return to_f32(goldens.view(name + "." + what)); };
    const std::vector<float> weight = read("weight"), v = read("v"), upstream = read("upstream");
    const std::vector<float> alpha = read("alpha"), beta = read("beta");
    const auto* sign_v = goldens.view(name + ".sign_v").as<int8_t>();
    const auto* sign_alpha = goldens.view(name + ".sign_alpha").as<int8_t>();
    const auto* sign_beta = goldens.view(name + ".sign_beta").as<int8_t>();
    int different = 0;
    for (size_t group = 0; group < alpha.size(); ++group) {
      const size_t first = group * kGroup;
      const auto [low, high] =
          std::minmax_element(weight.begin() + static_cast<std::ptrdiff_t>(first),
                              weight.begin() + static_cast<std::ptrdiff_t>(first + kGroup));
      const ops::GroupRange range{std::min(*low, 0.0f), std::max(*high, 0.0f)};
      const float scale = f16_to_f32(ops::sign_round_scale(range, alpha[group], beta[group], rule));
      ops::ref::ScaleGradient sums;
      for (size_t i = first; i < first + kGroup; ++i) {
        // A parameter moves against its gradient.
        different += -ops::ref::element_step(rule.clamp, {weight[i], v[i], scale}, upstream[i],
                                             sums) != sign_v[i];
      }
      float new_alpha = 0.5f, new_beta = 0.5f;  // away from the bounds, so that every step shows
      const ops::GroupRange scaled{range.low * alpha[group] / 0.5f,
                                   range.high * beta[group] / 0.5f};
      ops::step_factors(scaled, ops::scale_gradient(sums.a, sums.b, rule), rule, 0.1f, new_alpha,
                        new_beta);
      different += -sign(new_alpha - 0.5f) != sign_alpha[group];
      different += -sign(new_beta - 0.5f) != sign_beta[group];
    }
    EXPECT_EQ(different, 0) << name;
  }
}

TEST(BatchOrder, ShowsEverySampleOnceBeforeItRepeats) {
  BatchOrder order(10, 3, 42, 0);
  for (int epoch = 0; epoch < 4; ++epoch) {
    std::set<int64_t> seen;
    for (int batch = 0; batch < 3; ++batch) {
      for (const int64_t sample : order.next()) EXPECT_TRUE(seen.insert(sample).second);
    }
    EXPECT_EQ(seen.size(), 9u);
    EXPECT_LT(*seen.rbegin(), 10);
  }
}

TEST(BatchOrder, IsAFunctionOfSeedAndStream) {
  const auto first = [](uint64_t seed, uint64_t stream) {
    return BatchOrder(100, 8, seed, stream).next();
  };
  EXPECT_EQ(first(1, 2), first(1, 2));
  EXPECT_NE(first(1, 2), first(1, 3));
  EXPECT_NE(first(1, 2), first(2, 2));
}

// What all steps together move an offset by, in codes; they fit 16 bits beside the start.
double reach_of(const TuneRecipe& recipe) {
  int64_t units = 0;
  for (int64_t t = 0; t < recipe.iterations; ++t) units += recipe.v_units(t);
  const int64_t at_start = recipe.start == Start::feedback ? recipe.most_start_units() : 0;
  EXPECT_LE(at_start + units, 32767) << recipe.iterations;
  return static_cast<double>(units) * double{recipe.rule().v_unit};
}

// With steps from rate to 0 the reach is rate * (T + 1) / 2: half a code by auto-round's rule,
// which is just enough to round any weight the other way, and three quarters by ours from rounding
// to nearest.
TEST(TuneRecipe, OffsetsReachAnotherCodeFromRoundingToNearest) {
  for (const int64_t iterations : {50, 200, 255, 256, 400, 1000}) {
    TuneRecipe recipe;
    recipe.iterations = iterations;
    start_at(recipe, Start::nearest);
    EXPECT_NEAR(reach_of(recipe), 0.75, 0.025) << iterations;
    make_compatible_with_autoround(recipe);
    EXPECT_NEAR(reach_of(recipe), 0.5, 0.02) << iterations;
  }
}

TEST(TuneRecipe, OffsetsKeepRoomForAWholeCodeOfErrorFeedback) {
  for (const int64_t iterations : {50, 200, 400, 1000, 10'000}) {
    TuneRecipe recipe;
    recipe.iterations = iterations;
    const double reach = recipe.rate() * static_cast<double>(iterations + 1) / 2;
    EXPECT_NEAR(reach_of(recipe), reach, 0.001) << iterations;
    EXPECT_NEAR(recipe.most_start_units() * double{recipe.rule().v_unit}, 1, 0.001) << iterations;
  }
}

TEST(TuneRecipe, StartingElsewhereBringsTheStepsThatGoWithIt) {
  TuneRecipe recipe;
  make_compatible_with_autoround(recipe);
  start_at(recipe, Start::nearest);
  EXPECT_EQ(recipe.rate(), 1.0 / 200);
  start_at(recipe, Start::feedback);
  EXPECT_EQ(recipe.rate(), TuneRecipe().rate());
  TuneRecipe light = recipe_by_name("light");
  make_compatible_with_autoround(light);
  EXPECT_EQ(light.rate(), 5e-3);
}

TEST(TuneRecipe, RefusesNumbersOutOfRangeAndUnknownNames) {
  EXPECT_THROW(recipe_by_name("fastest"), Error);
  TuneRecipe recipe;
  recipe.batch = 500;
  EXPECT_THROW(recipe.validate(), Error);
}

class Tuner : public testing::Test {
 protected:
  TuneRecipe recipe() const {
    TuneRecipe r = recipe_by_name("default");
    r.iterations = 12;
    r.samples = 12;
    r.length = 64;
    r.batch = 4;
    r.held_out = 4;
    r.learning_rate = 5e-3;
    return r;
  }
  // Codes and scales of block 0 after a short run.
  TuneResult run(const TuneRecipe& tuned, int threads, std::string_view backend = "cpu") const {
    const auto checkpoint =
        std::make_shared<Checkpoint>(Checkpoint::open(kSource / "models/pocket"));
    const Model model = Model::load(checkpoint);
    const ops::OpTable& table = ops::select_backend(backend);
    ops::Workspace workspace(*table.memory);
    const Executor executor{table, {Threads{threads}, workspace}};
    CalibrationOptions options{.data = (kSource / "models/pocket/calibration.jsonl").string(),
                               .samples = tuned.samples,
                               .length = tuned.length};
    const CalibrationData data = load_calibration(options, kSource / "models/pocket");
    const int64_t hidden = model.config().hidden;
    SampleStore inputs(ActivationStore(data.samples, data.length * hidden));
    SampleStore targets(ActivationStore(data.samples, data.length * hidden));
    for (size_t i = 0; i < data.tokens.size(); ++i) {
      const auto row = to_f32(
          checkpoint->view("model.language_model.embed_tokens.weight").slice(data.tokens[i]));
      std::copy(row.begin(), row.end(), inputs.host().sample(0) + static_cast<int64_t>(i) * hidden);
      std::copy(row.begin(), row.end(),
                targets.host().sample(0) + static_cast<int64_t>(i) * hidden);
    }
    ResidentBlock block =
        make_resident(load_block(*checkpoint, model.config(), model.table(), Part::text, 0),
                      *table.memory, nullptr);
    forward_samples(model.config(), block.weights, targets, {tuned.batch, data.length}, executor);
    std::vector<TunedLinear> linears;
    for (const Role role :
         {Role::in_proj_qkv, Role::out_proj, Role::expert_gate, Role::expert_down}) {
      const int64_t expert = role == Role::expert_gate || role == Role::expert_down ? 1 : -1;
      const Parameter& p = *model.table().find(Part::text, 0, role, expert);
      linears.push_back(
          {{role, expert}, p.module, std::get<ops::DenseWeight>(stored_weight(*checkpoint, p))});
    }
    BlockTuner tuner(model.config(), std::move(block), linears, kGroup, tuned, executor);
    return tuner.run({data.length, inputs, targets}, 0, nullptr);
  }
};

TEST_F(Tuner, LowersTheErrorOnSequencesItDidNotTrainOn) {
  TuneRecipe longer = recipe();
  longer.iterations = 40;
  longer.samples = 40;
  longer.start = Start::nearest;
  const TuneResult nearest = run(longer, 2);
  EXPECT_LT(nearest.loss_after, 0.95 * nearest.loss_before);
  EXPECT_EQ(nearest.losses.size(), 40u);
  EXPECT_GT(nearest.kept_iteration, 0);

  longer.start = Start::feedback;
  longer.learning_rate = 5e-4;
  const TuneResult feedback = run(longer, 2);
  EXPECT_EQ(feedback.loss_before, nearest.loss_before);
  EXPECT_LT(feedback.loss_after, 0.95 * nearest.loss_after);
}

TEST_F(Tuner, GivesTheSameBytesForAnyNumberOfThreads) {
  const TuneResult one = run(recipe(), 1), three = run(recipe(), 3);
  EXPECT_EQ(one.rounding.packed_codes, three.rounding.packed_codes);
  EXPECT_EQ(one.rounding.scales, three.rounding.scales);
  EXPECT_EQ(one.losses, three.losses);
}

// The share of codes, two to a byte, that differ.
double share_of_different(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  double different = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    different += (a[i] & 15) != (b[i] & 15) ? 0.5 : 0;
    different += (a[i] >> 4) != (b[i] >> 4) ? 0.5 : 0;
  }
  return different / static_cast<double>(a.size());
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// A device's products round their inputs to BF16: signs of small gradients differ, and a token may
// go to another expert, but the losses on the way stay about the same.
TEST_F(Tuner, OnADeviceGoesTheWayOfTheHost) {
  TuneRecipe shorter = recipe();
  shorter.iterations = 4;
  shorter.samples = 6;
  shorter.length = 20;
  shorter.batch = 2;
  shorter.held_out = 2;
  shorter.start = Start::nearest;
  shorter.learning_rate = 0.02;
  const TuneResult host = run(shorter, 2);
  for (const ops::OpTable* table : ops::fast_backends()) {
    if (table->memory->is_host) continue;
    const TuneResult device = run(shorter, 2, table->name);
    EXPECT_NEAR(device.loss_before, host.loss_before, 0.1 * host.loss_before);
    EXPECT_NEAR(device.loss_after, host.loss_after, 0.1 * host.loss_after);
    ASSERT_EQ(device.losses.size(), host.losses.size());
    EXPECT_NEAR(mean(device.losses), mean(host.losses), 0.1 * mean(host.losses));
    ASSERT_EQ(device.rounding.packed_codes.size(), host.rounding.packed_codes.size());
    EXPECT_LT(share_of_different(device.rounding.packed_codes, host.rounding.packed_codes), 0.1);
    const TuneResult again = run(shorter, 1, table->name);
    EXPECT_EQ(again.losses, device.losses);
    EXPECT_EQ(again.rounding.packed_codes, device.rounding.packed_codes);
    EXPECT_EQ(again.rounding.scales, device.rounding.scales);
  }
}

// The device's products of inputs are of BF16 inputs; errors of codes chain through a row, so that
// codes differ more than losses do.
TEST_F(Tuner, OnADeviceStartsAboutWhereTheHostDoes) {
  TuneRecipe start = recipe();
  start.iterations = 1;
  start.samples = 10;
  start.batch = 2;
  start.held_out = 2;
  start.learning_rate = 1e-4;
  const TuneResult host = run(start, 2);
  EXPECT_LT(host.loss_after, host.loss_before);
  for (const ops::OpTable* table : ops::fast_backends()) {
    if (table->memory->is_host) continue;
    const TuneResult device = run(start, 2, table->name);
    EXPECT_NEAR(device.loss_after, host.loss_after, 0.1 * host.loss_after);
    EXPECT_LT(share_of_different(device.rounding.packed_codes, host.rounding.packed_codes), 0.2);
  }
}

// The device finds the best mini-batch by itself.
TEST_F(Tuner, OnADeviceKeepsTheBestMiniBatchToo) {
  TuneRecipe compatible = recipe();
  compatible.iterations = 3;
  compatible.samples = 4;
  compatible.length = 16;
  compatible.batch = 2;
  make_compatible_with_autoround(compatible);
  for (const ops::OpTable* table : ops::fast_backends()) {
    if (table->memory->is_host) continue;
    const TuneResult result = run(compatible, 2, table->name);
    EXPECT_EQ(result.loss_after, *std::min_element(result.losses.begin(), result.losses.end()));
    EXPECT_EQ(result.loss_after, result.losses[static_cast<size_t>(result.kept_iteration)]);
  }
}

TEST_F(Tuner, CompatibleModeKeepsAStateThatWonOnItsOwnBatch) {
  TuneRecipe compatible = recipe();
  make_compatible_with_autoround(compatible);
  const TuneResult result = run(compatible, 2);
  EXPECT_EQ(result.loss_after, *std::min_element(result.losses.begin(), result.losses.end()));
  EXPECT_EQ(result.loss_before, result.losses.front());
  EXPECT_LT(result.kept_iteration, compatible.iterations);
}

TEST(Calibration, SaysHowMuchTextThereIsWhenItIsTooLittle) {
  const fs::path pocket = kSource / "models/pocket";
  try {
    load_calibration(
        {.data = (pocket / "calibration.jsonl").string(), .samples = 5000, .length = 256}, pocket);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.expected(), "5000 sequences of 256 tokens");
    EXPECT_NE(error.actual().find("256 texts"), std::string::npos) << error.actual();
  }
}

TEST(Calibration, TellsHowToGetADataSetThatIsNoFile) {
  try {
    load_calibration({.data = "NeelNanda/pile-10k"}, kSource / "models/pocket");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(error.hint().find("--data"), std::string::npos);
  }
}

TEST(Calibration, FindsDataSetsInTheHuggingFaceCacheByName) {
  const TestDirectory cache;
  const fs::path set = cache / "datasets--someone--tales";
  fs::create_directories(set / "refs");
  fs::create_directories(set / "snapshots/abc/data");
  fs::create_directories(set / "snapshots/zzz");
  std::ofstream(set / "refs/main") << "abc\n";
  std::ofstream(set / "snapshots/abc/dataset_infos.json") << "{}";
  std::ofstream(set / "snapshots/abc/data/test.jsonl") << "\"not this one\"\n";
  const fs::path pocket = kSource / "models/pocket";
  fs::create_symlink(pocket / "calibration.jsonl", set / "snapshots/abc/data/train-0.jsonl");
  const auto load = [&](const std::string& data) {
    return load_calibration(
        {.data = data, .samples = 8, .length = 100, .dataset_cache = cache.path()}, pocket);
  };
  EXPECT_EQ(load("someone/tales").sha256, load((pocket / "calibration.jsonl").string()).sha256);
  fs::remove_all(set / "snapshots/abc/data");
  std::ofstream(set / "snapshots/abc/train.parquet") << "PAR1";
  try {
    load("someone/tales");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(error.actual().find("train.parquet"), std::string::npos) << error.actual();
  }
}

TEST(Calibration, SettingsOfASourceStandAfterItsName) {
  const fs::path pocket = kSource / "models/pocket";
  const std::string file = (pocket / "calibration.jsonl").string();
  const auto load = [&](const std::string& data, bool pack) {
    return load_calibration({.data = data, .samples = 8, .length = 100, .pack = pack}, pocket);
  };
  EXPECT_EQ(load(file + ":concat", false).sha256, load(file, true).sha256);
  EXPECT_EQ(load(file + ":num=8:concat=false", true).sha256, load(file, false).sha256);
  EXPECT_NE(load(file + ":apply_chat_template", false).sha256, load(file, false).sha256);
  for (const char* wrong : {":num=0", ":num=8x", ":concat=maybe", ":split=train", ":"})
    EXPECT_THROW(load(file + wrong, false), Error) << wrong;
}

TEST(Calibration, PackingUsesEveryTokenAndSeedsChooseTheOrder) {
  const fs::path pocket = kSource / "models/pocket";
  const auto load = [&](bool pack, uint64_t seed) {
    return load_calibration({.data = (pocket / "calibration.jsonl").string(),
                             .samples = 8,
                             .length = 100,
                             .pack = pack,
                             .seed = seed},
                            pocket);
  };
  EXPECT_EQ(load(true, 1).tokens.size(), 800u);
  EXPECT_EQ(load(false, 1).sha256, load(false, 1).sha256);
  EXPECT_NE(load(false, 1).sha256, load(false, 2).sha256);
  EXPECT_NE(load(false, 1).sha256, load(true, 1).sha256);
}

}  // namespace
}  // namespace qround::quant
