// A lane on a device (or its emulation) beside the same network on the CPU.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "eval/side_by_side.h"
#include "tests/engine/on_backends.h"
#include "tests/eval/pocket_lanes.h"
#include "tests/ops/on_backend.h"

namespace qround::eval {
namespace {

// Two windows of random tokens.
WindowedText random_text(int64_t vocab) {
  WindowedText text{.windows = {{.begin = 0, .length = 20, .target_end = 19, .compare_end = 20},
                                {.begin = 20, .length = 9, .target_end = 8, .compare_end = 9}},
                    .text_tokens = 29};
  for (uint64_t i = 0; i < 29; ++i)
    text.tokens.push_back(
        static_cast<int32_t>(random_bits(3, 0, i) % static_cast<uint64_t>(vocab)));
  return text;
}

class DeviceLanes : public testing::TestWithParam<std::string> {};

TEST_P(DeviceLanes, ReadWindowsAsTheCpuDoes) {
  const auto model = pocket_model("tests/data/golden/micro/model");
  const std::vector<Lane> lanes = {{.name = "host", .model = model, .backend = "cpu"},
                                   {.name = "device", .model = model, .backend = GetParam()}};
  const WindowedText text = random_text(model->config().vocab);
  const auto scores = run_side_by_side(lanes, text, {.threads = Threads{2}});
  ASSERT_EQ(scores[1].divergence.size(), 29u);
  ASSERT_EQ(scores[1].drafts.size(), 2u);
  // Logits of some units; each is off by about the rounding of factors over 17 products in a chain
  // (4 layers of 4 and the head). The divergence is half the mean square of their errors.
  const double rounding = double{ops::factor_rounding(ops::select_backend(GetParam()))};
  const double error = 4 * (1e-6 + rounding * std::sqrt(17.0));
  for (const double divergence : scores[1].divergence) EXPECT_LE(divergence, error * error + 1e-9);
  for (size_t row = 0; row < scores[0].nll.size(); ++row)
    EXPECT_NEAR(scores[1].nll[row], scores[0].nll[row], 4 * error);
  for (const LayerScores& layer : scores[1].layers) {
    EXPECT_EQ(layer.rows, 29);
    EXPECT_LE(layer.error_squared, error * error * layer.reference_squared);
  }
}

INSTANTIATE_TEST_SUITE_P(, DeviceLanes, testing::ValuesIn(engine_backends()), backend_name);

}  // namespace
}  // namespace qround::eval
