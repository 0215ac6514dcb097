#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "tests/engine/engine_output.h"
#include "tests/engine/on_backends.h"
#include "tests/ops/on_backend.h"

namespace qround {
namespace {

using std::chrono::milliseconds;

class EngineTest : public testing::TestWithParam<std::string> {
 protected:
  const EngineOptions small = {.max_sequences = 4,
                               .prefill_chunk = 16,
                               .state_budget_bytes = 64 << 20,
                               .checkpoint_tokens = 32,
                               .threads = Threads{1}};
  const std::vector<int32_t> prompt = {20, 21, 22, 23, 24, 25, 26, 27};  // continues 24, 38, 52, 2

  const ops::OpTable& table = ops::select_backend(GetParam());
  const Model model =
      Model::load(std::make_shared<Checkpoint>(Checkpoint::open(
                      std::filesystem::path(QROUND_SOURCE_DIR) / "tests/data/golden/micro/model")))
          .in(*table.memory);
};

TEST_P(EngineTest, RefusesWhatCanNeverRun) {
  EngineOptions options = small;
  options.context = 20;
  Engine e(model, table, options);
  const auto refused = [&](Request request) {
    try {
      e.submit(std::move(request));
    } catch (const Error& error) {
      return error.kind() == ErrorKind::input;
    }
    return false;
  };
  EXPECT_TRUE(refused({.tokens = {}}));
  EXPECT_TRUE(refused({.tokens = {-1}}));
  EXPECT_TRUE(refused({.tokens = {96}}));
  EXPECT_TRUE(refused({.tokens = std::vector<int32_t>(21, 1)}));
  EXPECT_TRUE(refused({.tokens = {1}, .max_tokens = 0}));
  EXPECT_TRUE(refused({.tokens = {1}, .sampling = {.temperature = -1}}));
  EXPECT_TRUE(refused({.tokens = {1}, .logit_bias = {{1000, 1.0f}}}));
  EXPECT_TRUE(refused({.tokens = {1}, .top_logprobs = -1}));
  EXPECT_FALSE(refused({.tokens = std::vector<int32_t>(20, 1)}));
}

TEST_P(EngineTest, RefusesAContextBeyondTheModelsOrTheBudgets) {
  EngineOptions options = small;
  options.context = 1 << 30;
  EXPECT_THROW(Engine(model, table, options), Error);
  options.context = 0;
  options.state_budget_bytes = 1000;
  EXPECT_THROW(Engine(model, table, options), Error);
}

TEST_P(EngineTest, OutputEndsAtStopTokenLengthContextRequestAndCancellation) {
  EngineOptions options = small;
  options.context = 10;
  Engine e(model, table, options);
  EngineOutput output = output_of(e, {.tokens = prompt, .max_tokens = 2});
  EXPECT_EQ(output.finish.reason, FinishReason::length);
  EXPECT_EQ(output.tokens, (std::vector<int32_t>{24, 38}));
  output = output_of(e, {.tokens = prompt, .max_tokens = 40, .stop_tokens = {52}});
  EXPECT_EQ(output.finish.reason, FinishReason::stop_token);
  EXPECT_EQ(output.tokens, (std::vector<int32_t>{24, 38}));
  EXPECT_EQ(output.finish.usage.output_tokens, 3);
  output = output_of(e, {.tokens = prompt, .max_tokens = 40});
  EXPECT_EQ(output.finish.reason, FinishReason::context_full);
  EXPECT_EQ(output.tokens, (std::vector<int32_t>{24, 38, 52}));
  output = output_of(e, {.tokens = prompt, .max_tokens = 40, .on_token = [](int32_t token) {
                           return token != 38;
                         }});
  EXPECT_EQ(output.finish.reason, FinishReason::stop_requested);
  EXPECT_EQ(output.tokens, (std::vector<int32_t>{24, 38}));
  Generation generation = e.submit({.tokens = prompt, .max_tokens = 40});
  generation.cancel();
  const FinishReason reason = output_of(std::move(generation)).finish.reason;
  EXPECT_TRUE(reason == FinishReason::cancelled || reason == FinishReason::context_full);
}

TEST_P(EngineTest, WhatAHookThrowsEndsItsRequestAlone) {
  Engine e(model, table, small);
  Generation beside = e.submit({.tokens = prompt, .max_tokens = 30});
  const EngineOutput failed =
      output_of(e, {.tokens = prompt, .on_token = [](int32_t) -> bool { throw Error("no"); }});
  EXPECT_EQ(failed.finish.reason, FinishReason::failed);
  ASSERT_TRUE(failed.finish.error.has_value());
  EXPECT_EQ(failed.finish.error->message(), "no");
  EXPECT_EQ(output_of(std::move(beside)).tokens.size(), 30u);
}

TEST_P(EngineTest, ConstraintsAndBiasesDecideWhatCanBeChosen) {
  Engine e(model, table, small);
  std::vector<size_t> lengths;
  const auto only_odd = [&](std::span<const int32_t> output, std::span<float> logits) {
    lengths.push_back(output.size());
    for (size_t id = 0; id < logits.size(); id += 2)
      logits[id] = -std::numeric_limits<float>::infinity();
  };
  const EngineOutput odd =
      output_of(e, {.tokens = prompt, .max_tokens = 12, .constrain = only_odd});
  for (const int32_t token : odd.tokens) EXPECT_EQ(token % 2, 1);
  EXPECT_EQ(lengths, (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  const EngineOutput biased =
      output_of(e, {.tokens = prompt, .logit_bias = {{7, 100.0f}}, .max_tokens = 3});
  EXPECT_EQ(biased.tokens, (std::vector<int32_t>{7, 7, 7}));
  const auto nothing = [](std::span<const int32_t>, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), -std::numeric_limits<float>::infinity());
  };
  EXPECT_EQ(output_of(e, {.tokens = prompt, .constrain = nothing}).finish.reason,
            FinishReason::failed);
}

TEST_P(EngineTest, LogprobsAreThoseOfTheLogits) {
  Engine e(model, table, small);
  const EngineOutput output = output_of(e, {.tokens = prompt, .max_tokens = 4, .top_logprobs = 96});
  ASSERT_EQ(output.details.size(), 4u);
  for (const OutputToken& token : output.details) {
    ASSERT_EQ(token.top.size(), 96u);
    EXPECT_EQ(token.top[0].token, token.token);  // greedy
    EXPECT_EQ(token.top[0].logprob, token.logprob);
    double total = 0;
    for (size_t i = 0; i < 96; ++i) {
      total += std::exp(token.top[i].logprob);
      if (i > 0) {
        EXPECT_LE(token.top[i].logprob, token.top[i - 1].logprob);
      }
    }
    EXPECT_NEAR(total, 1, 1e-5);
  }
}

TEST_P(EngineTest, AQueueThatIsFullRefusesAndEmptiesAgain) {
  EngineOptions options = small;
  options.max_sequences = 1;
  options.max_queue = 2;
  Engine e(model, table, options);
  std::vector<Generation> accepted;
  bool refused = false;
  while (!refused && accepted.size() < 50) {
    try {
      accepted.push_back(e.submit({.tokens = prompt, .max_tokens = 1000}));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::resource);
      refused = true;
    }
  }
  EXPECT_TRUE(refused);
  EXPECT_GE(e.metrics().rejected, 1);
  for (Generation& generation : accepted) generation.cancel();
  for (Generation& generation : accepted) output_of(std::move(generation));
  EXPECT_EQ(output_of(e, {.tokens = prompt, .max_tokens = 2}).tokens.size(), 2u);
}

TEST_P(EngineTest, ARequestOutlivesItsEngine) {
  std::optional<Generation> generation;
  {
    Engine e(model, table, small);
    generation.emplace(e.submit({.tokens = prompt, .max_tokens = 2000}));
  }
  EXPECT_EQ(output_of(std::move(*generation)).finish.reason, FinishReason::cancelled);
}

TEST_P(EngineTest, ARequestThatBeginsLikeAnotherStartsFromItsStateAndGivesTheSameTokens) {
  std::vector<int32_t> common;
  for (int32_t i = 0; i < 70; ++i) common.push_back((i * 31) % 96);
  // Emulated kernels are a thousand times slower than real ones.
  const bool slow = ops::is_emulated(table);
  for (const int drafts : slow ? std::vector<int>{2} : std::vector<int>{0, 2}) {
    EngineOptions options = small;
    options.drafts = {.automatic = false, .depth = drafts};
    Engine fresh(model, table, options);
    Engine used(model, table, options);
    output_of(used, {.tokens = common, .max_tokens = slow ? 2 : 8, .borders = {50}});
    std::vector<int32_t> other(common.begin(), common.begin() + 60);
    other.insert(other.end(), {5, 6, 7});
    const int64_t count = slow ? 5 : 20;
    const EngineOutput expected = output_of(fresh, {.tokens = other, .max_tokens = count});
    const EngineOutput seen = output_of(used, {.tokens = other, .max_tokens = count});
    EXPECT_EQ(seen.tokens, expected.tokens);
    EXPECT_EQ(expected.finish.usage.cached_tokens, 0);
    EXPECT_EQ(seen.finish.usage.cached_tokens, 50);
    // Going on from the whole first answer.
    std::vector<int32_t> longer = other;
    longer.insert(longer.end(), seen.tokens.begin(), seen.tokens.end());
    longer.push_back(9);
    const EngineOutput next = output_of(used, {.tokens = longer, .max_tokens = 5});
    EXPECT_EQ(next.finish.usage.cached_tokens, static_cast<int64_t>(longer.size()) - 2);
    EXPECT_EQ(next.tokens, output_of(fresh, {.tokens = longer, .max_tokens = 5}).tokens);
  }
}

QROUND_ON_ENGINE_BACKENDS(EngineTest);

}  // namespace
}  // namespace qround
