// The pocket model and auto-round's plain rounding of it, against transformers in fp32
// (tests/data/golden/eval, made by oracle/eval_reference.py).
#include "eval/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace qround::eval {
namespace {

std::filesystem::path in_tree(const char* path) {
  return std::filesystem::path(QROUND_SOURCE_DIR) / path;
}

EvaluationSpec pocket_spec(int64_t windows) {
  EvaluationSpec spec;
  spec.directory = in_tree("tests/data/golden/autoround-rtn");
  spec.source = in_tree("models/pocket");
  spec.data = in_tree("models/pocket/evaluation.txt");
  spec.protocol = protocol_named("windows");
  spec.protocol.max_windows = windows;
  spec.run.threads = Threads::all();
  return spec;
}

double mean(const double* values, size_t n) {
  return std::accumulate(values, values + n, 0.0) / static_cast<double>(n);
}

TEST(Evaluation, AgreesWithTransformers) {
  const SafetensorsFile golden(in_tree("tests/data/golden/eval/pocket_rtn.safetensors"));
  const Evaluation result = run_evaluation(pocket_spec(4));
  ASSERT_EQ(result.lanes.size(), 2u);
  for (size_t lane = 0; lane < 2; ++lane) {
    const std::string& name = result.lanes[lane].name;
    const TensorView nll = golden.view(name + ".nll");
    ASSERT_EQ(static_cast<size_t>(nll.count()), result.scores[lane].nll.size());
    const double expected = std::exp(mean(nll.as<double>(), result.scores[lane].nll.size()));
    EXPECT_NEAR(result.lanes[lane].perplexity.value / expected, 1, 1e-4) << name;
    const auto* top = golden.view(name + ".top").as<int32_t>();
    const auto* gap = golden.view(name + ".gap").as<float>();
    int differing = 0;
    for (size_t row = 0; row < result.scores[lane].top.size(); ++row) {
      if (result.scores[lane].top[row] == top[row]) continue;
      ++differing;
      EXPECT_LT(gap[row], 1e-4) << name << " row " << row;
    }
    EXPECT_LE(differing, 2) << name;
    const auto* hits = golden.view(name + ".draft_hits").as<int32_t>();
    for (size_t window = 0; window < 4; ++window)
      for (size_t depth = 0; depth < 2; ++depth)
        EXPECT_EQ(result.scores[lane].drafts[window].hits[depth], hits[window * 3 + depth]);
  }
  const auto* divergence = golden.view("result.divergence").as<double>();
  EXPECT_NEAR(result.lanes[1].divergence->mean.value,
              mean(divergence, result.scores[1].divergence.size()), 1e-6);
}

TEST(Evaluation, ResultsDependNeitherOnThreadsNorOnMemory) {
  EvaluationSpec spec = pocket_spec(3);
  const Evaluation whole = run_evaluation(spec);
  spec.run.threads = {1};
  spec.run.memory_bytes = 1;  // a pass per window
  const Evaluation pieces = run_evaluation(spec);
  EXPECT_EQ(whole.scores, pieces.scores);
}

TEST(Evaluation, AModelBesideItselfDoesNotDiffer) {
  EvaluationSpec spec = pocket_spec(2);
  spec.directory = spec.source;
  const Evaluation result = run_evaluation(spec);
  EXPECT_EQ(result.lanes[1].divergence->max, 0);
  EXPECT_EQ(result.lanes[1].divergence->top_differs, 0);
  for (const LayerFigures& layer : result.lanes[1].layers) {
    EXPECT_EQ(layer.relative_error, 0);
    EXPECT_EQ(layer.rerouted, 0);
  }
}

TEST(Evaluation, AnotherNetworkIsNoSource) {
  EvaluationSpec spec = pocket_spec(2);
  spec.source = in_tree("tests/data/golden/micro/model");
  EXPECT_THROW(run_evaluation(spec), Error);
}

}  // namespace
}  // namespace qround::eval
