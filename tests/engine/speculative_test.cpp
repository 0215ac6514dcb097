// Drafts change the speed, never the output: greedy or sampled, on trained and random models, at
// every depth.
#include <gtest/gtest.h>

#include "tests/engine/drafting.h"

namespace qround {
namespace {

void expect_drafts_change_nothing(const Model& model,
                                  const std::vector<std::vector<int32_t>>& prompts,
                                  const SamplingOptions& sampling, int64_t tokens) {
  const auto plain = outputs_of(model, options_for(0), prompts, sampling, tokens);
  const auto expect_same = [&](const EngineOptions& options, const char* what) {
    const auto drafted = outputs_of(model, options, prompts, sampling, tokens);
    int64_t drafts = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(drafted[i].tokens, plain[i].tokens) << what << ", prompt " << i;
      drafts += drafted[i].finish.usage.drafted_tokens;
    }
    EXPECT_GT(drafts, 0);
  };
  for (const int depth : {1, 2, 3, 4}) expect_same(options_for(depth), "fixed depth");
  expect_same(options_for(4, true), "automatic depth");
  EngineOptions int4 = options_for(2);
  int4.drafts.int4_head = true;
  expect_same(int4, "int4 head");
}

TEST(Speculative, GreedyOutputIsThatWithoutDrafts) {
  expect_drafts_change_nothing(load("models/pocket"), pocket_prompts(6), {}, 32);
}

TEST(Speculative, SampledOutputIsThatWithoutDraftsForEverySeed) {
  const Model model = load("models/pocket");
  for (const uint64_t seed : {1, 2})
    expect_drafts_change_nothing(model, pocket_prompts(3),
                                 {.temperature = 0.9f,
                                  .top_k = 40,
                                  .top_p = 0.95f,
                                  .repetition_penalty = 1.1f,
                                  .presence_penalty = 0.3f,
                                  .seed = seed},
                                 24);
}

// Layers of either kind in any order, widths that no vector length divides, groups of heads of any
// size, few experts or many.
RandomModelShape odd_shape(uint64_t seed) {
  uint64_t draws = 0;
  const auto from_to = [&](uint64_t least, uint64_t most) {
    return static_cast<int64_t>(least + random_bits(seed, 2, draws++) % (most - least + 1));
  };
  RandomModelShape shape;
  shape.attention.assign(static_cast<size_t>(from_to(1, 5)), false);
  for (size_t i = 0; i < shape.attention.size(); ++i) shape.attention[i] = from_to(0, 1) == 1;
  shape.hidden = from_to(5, 130);
  shape.vocab = from_to(3, 300);
  shape.kv_heads = from_to(1, 3);
  shape.heads = shape.kv_heads * from_to(1, 4);
  shape.head_dim = 8 * from_to(1, 6);
  shape.key_heads = from_to(1, 3);
  shape.value_heads = shape.key_heads * from_to(1, 3);
  shape.delta_dim = from_to(3, 40);
  shape.experts = from_to(1, 20);
  shape.chosen = from_to(1, static_cast<uint64_t>(std::min<int64_t>(shape.experts, 9)));
  shape.expert_width = from_to(3, 70);
  return shape;
}

void expect_the_same_on_odd_shapes(uint64_t first_seed, uint64_t count) {
  for (uint64_t seed = first_seed; seed < first_seed + count; ++seed) {
    const RandomModelShape shape = odd_shape(seed);
    SCOPED_TRACE(random_model_config(shape));
    const RandomModelDirectory directory;
    const Model model = make_random_model(directory.path(), shape, seed);
    std::vector<std::vector<int32_t>> prompts;
    for (uint64_t i = 0; i < 4; ++i) prompts.push_back(random_prompt(10 * seed + i, shape.vocab));
    expect_drafts_change_nothing(model, prompts, {}, 24);
    expect_drafts_change_nothing(model, prompts, {.temperature = 0.7f, .seed = seed}, 12);
  }
}

TEST(Speculative, RandomModelsOfOddShapesGiveTheSameWithAndWithoutDrafts) {
  expect_the_same_on_odd_shapes(1, 5);
}

TEST(FullSpeculative, ManyRandomModelsOfOddShapesGiveTheSameWithAndWithoutDrafts) {
  expect_the_same_on_odd_shapes(100, 60);
}

TEST(FullSpeculative, GreedyOutputIsThatWithoutDraftsOn200Prompts) {
  expect_drafts_change_nothing(load("models/pocket"), pocket_prompts(200), {}, 48);
}

TEST(FullSpeculative, SampledOutputIsThatWithoutDraftsOn200Prompts) {
  expect_drafts_change_nothing(load("models/pocket"), pocket_prompts(200),
                               {.temperature = 1, .top_p = 0.95f, .seed = 3}, 48);
}

}  // namespace
}  // namespace qround
