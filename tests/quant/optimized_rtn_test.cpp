// Rounding with searched scales: against auto-round's recorded scales, and as a job.
#include "quant/optimized_rtn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/half.h"
#include "checkpoint/safetensors.h"
#include "ops/full_range_int4.h"
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
  EXPECT_EQ(searched.rule_errors, 0);
  ASSERT_FALSE(searched.errors.empty());
  for (const ErrorSummary& error : searched.errors)
    EXPECT_LT(error.mean, 0.97 * mean_error(plain, error.kind)) << error.kind;
}

JobSpec with_text(const std::filesystem::path& output, int64_t length) {
  JobSpec spec = job_spec(pocket(), output);
  spec.recipe = recipe_by_name("default");
  spec.recipe->iterations = 0;
  spec.recipe->samples = 16;
  spec.recipe->length = length;
  spec.recipe->held_out = 4;
  spec.calibration.data = (pocket() / "calibration.jsonl").string();
  return spec;
}

TEST(OptimizedRtn, WithTextLowersTheErrorOfEveryBlock) {
  const TestDirectory directory;
  const Report report = quantize(with_text(directory / "out", 64));
  EXPECT_EQ(report.rule_errors, 0);
  const Json tuning = report.tuning;
  ASSERT_EQ(tuning.at("blocks").as_array().size(), 4u);
  for (const Json& block : tuning.at("blocks").as_array())
    EXPECT_LT(block.at("loss_after").as_double(), 0.98 * block.at("loss_before").as_double());
  const Json config = Json::parse_file(directory / "out/config.json").at("quantization_config");
  EXPECT_EQ(config.at("iters").as_int(), 0);
  EXPECT_TRUE(config.at("enable_opt_rtn").as_bool());
}

}  // namespace
}  // namespace qround::quant
