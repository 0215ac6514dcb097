// Drafts change the speed, never the output: greedy or sampled, on trained and random models, at
// every depth; and they are accepted as often as the head's own quality says.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iostream>

#include "base/json.h"
#include "tests/engine/engine_output.h"
#include "tests/engine/random_model.h"
#include "tokenizer/tokenizer.h"

namespace qround {
namespace {

std::filesystem::path source_path(const char* relative) {
  return std::filesystem::path(QROUND_SOURCE_DIR) / relative;
}

Model load(const char* relative) {
  return Model::load(std::make_shared<Checkpoint>(Checkpoint::open(source_path(relative))));
}

EngineOptions options_for(int depth, bool automatic = false) {
  return {.max_sequences = 4,
          .state_budget_bytes = 256 << 20,
          .drafts = {.automatic = automatic, .depth = depth},
          .threads = Threads{2}};
}

std::vector<int32_t> random_prompt(uint64_t seed, int64_t vocab) {
  std::vector<int32_t> ids(1 + random_bits(seed, 0, 0) % 60);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(random_bits(seed, 1, i) % static_cast<uint64_t>(vocab));
  return ids;
}

// Beginnings of the pocket model's evaluation text.
std::vector<std::vector<int32_t>> pocket_prompts(size_t count) {
  const Tokenizer tokenizer = Tokenizer::load(source_path("models/pocket"));
  const std::string text = read_file(source_path("models/pocket/evaluation.txt"));
  const std::vector<int32_t> ids = tokenizer.encode(text);
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * (ids.size() - 80) / count;
    prompts.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                         ids.begin() + static_cast<std::ptrdiff_t>(begin + 8 + 7 * i % 60));
  }
  return prompts;
}

// All prompts through one engine, several at once.
std::vector<EngineOutput> outputs_of(const Model& model, const EngineOptions& options,
                                     const std::vector<std::vector<int32_t>>& prompts,
                                     const SamplingOptions& sampling, int64_t tokens,
                                     const char* backend = "") {
  Engine engine(model, ops::select_backend(backend), options);
  std::vector<Generation> generations;
  for (const auto& prompt : prompts)
    generations.push_back(
        engine.submit({.tokens = prompt, .sampling = sampling, .max_tokens = tokens}));
  std::vector<EngineOutput> outputs;
  for (Generation& generation : generations) outputs.push_back(output_of(std::move(generation)));
  return outputs;
}

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

TEST(Speculative, RandomModelsOfOddShapesGiveTheSameWithAndWithoutDrafts) {
  const RandomModelShape shapes[] = {{.attention = {false, true}},
                                     {.attention = {true}, .vocab = 37},
                                     {.attention = {true, false, false},
                                      .hidden = 96,
                                      .heads = 3,
                                      .kv_heads = 3,
                                      .head_dim = 16,
                                      .key_heads = 2,
                                      .value_heads = 6,
                                      .delta_dim = 24,
                                      .experts = 7,
                                      .chosen = 3}};
  uint64_t seed = 1;
  for (const RandomModelShape& shape : shapes) {
    const RandomModelDirectory directory;
    const Model model = make_random_model(directory.path(), shape, seed);
    std::vector<std::vector<int32_t>> prompts;
    for (int i = 0; i < 4; ++i) prompts.push_back(random_prompt(seed++, shape.vocab));
    expect_drafts_change_nothing(model, prompts, {}, 24);
  }
}

// The second token of a sampled output is chosen while a draft of it is verified. Its frequencies
// over many seeds must be those of the model's own probabilities.
TEST(Speculative, SampledTokensFollowTheModelsDistribution) {
  const RandomModelDirectory directory;
  const RandomModelShape shape{.vocab = 24};
  const Model model = make_random_model(directory.path(), shape, 5);
  const std::vector<int32_t> prompt = {3, 1, 4, 1, 5};
  constexpr float kTemperature = 2.0f;
  ops::Workspace workspace;
  const Executor executor{ops::select_backend(""), {Threads{1}, workspace}};
  const auto probabilities = [&](const std::vector<int32_t>& ids) {
    SequenceState state(model.config());
    std::vector<float> hidden(ids.size() * static_cast<size_t>(shape.hidden));
    std::vector<float> logits(static_cast<size_t>(shape.vocab));
    model.forward(ids, state, hidden.data(), executor);
    model.logits(hidden.data() + (ids.size() - 1) * static_cast<size_t>(shape.hidden), 1,
                 logits.data(), executor);
    std::vector<double> p;
    double total = 0;
    for (const float logit : logits) total += p.emplace_back(std::exp(logit / kTemperature));
    for (double& value : p) value /= total;
    return p;
  };
  const std::vector<double> first = probabilities(prompt);
  std::vector<double> second(first.size());
  for (size_t token = 0; token < first.size(); ++token) {
    std::vector<int32_t> longer = prompt;
    longer.push_back(static_cast<int32_t>(token));
    const std::vector<double> after = probabilities(longer);
    for (size_t i = 0; i < after.size(); ++i) second[i] += first[token] * after[i];
  }

  constexpr int kDraws = 3000;
  std::vector<double> counts(first.size());
  int64_t drafted = 0, accepted = 0;
  Engine engine(model, ops::select_backend(""), options_for(2));
  std::vector<Generation> generations;
  for (int begin = 0; begin < kDraws; begin += 200) {
    generations.clear();
    for (int seed = begin; seed < begin + 200; ++seed)
      generations.push_back(engine.submit(
          {.tokens = prompt,
           .sampling = {.temperature = kTemperature, .seed = static_cast<uint64_t>(seed)},
           .max_tokens = 4}));
    for (Generation& generation : generations) {
      const EngineOutput output = output_of(std::move(generation));
      ++counts[static_cast<size_t>(output.tokens[1])];
      drafted += output.finish.usage.drafted_tokens;
      accepted += output.finish.usage.accepted_tokens;
    }
  }
  EXPECT_GE(drafted, kDraws);
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, drafted);
  double chi_square = 0, degrees = -1, rare_expected = 0, rare_seen = 0;
  const auto add = [&](double seen, double expected) {
    chi_square += (seen - expected) * (seen - expected) / expected;
    ++degrees;
  };
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = second[i] * kDraws;
    if (expected >= 5) {
      add(counts[i], expected);
    } else {
      rare_seen += counts[i];
      rare_expected += expected;
    }
  }
  if (rare_expected > 0) add(rare_seen, std::max(rare_expected, 1.0));
  std::cout << "chi-square " << chi_square << " at " << degrees << " degrees of freedom, "
            << accepted << " of " << drafted << " drafts accepted\n";
  EXPECT_LT(chi_square, degrees + 5 * std::sqrt(2 * degrees));
}

// What the head would draft at every place of a known text, from true tokens and hidden states.
std::vector<int32_t> teacher_forced_drafts(const Model& model, const Executor& executor,
                                           const std::vector<int32_t>& ids) {
  const auto h = static_cast<size_t>(model.config().hidden);
  const auto vocab = static_cast<size_t>(model.config().vocab);
  SequenceState state(model.config());
  std::vector<float> hidden(ids.size() * h);
  model.forward(ids, state, hidden.data(), executor);
  SequenceState head = model.empty_mtp_state();
  const auto next = std::span(ids).subspan(1);
  const SequenceRows rows{.state = &head, .tokens = static_cast<int64_t>(next.size())};
  model.mtp_forward(next, hidden.data(), std::span(&rows, 1), hidden.data(), executor);
  std::vector<float> logits(next.size() * vocab);
  model.logits(hidden.data(), rows.tokens, logits.data(), executor);
  std::vector<int32_t> drafts = {-1, -1};  // drafts[i] guesses ids[i]
  for (size_t row = 0; row < next.size(); ++row) {
    const float* of_row = logits.data() + row * vocab;
    drafts.push_back(static_cast<int32_t>(std::max_element(of_row, of_row + vocab) - of_row));
  }
  return drafts;
}

// The loop's first drafts are those of a whole teacher-forced pass, so the number accepted is known
// beforehand, exactly.
void expect_acceptance_of_depth_one(const Model& model,
                                    const std::vector<std::vector<int32_t>>& prompts,
                                    int64_t tokens) {
  ops::Workspace workspace;
  const Executor executor{ops::select_backend(""), {Threads{2}, workspace}};
  const auto outputs = outputs_of(model, options_for(1), prompts, {}, tokens);
  int64_t drafted = 0, accepted = 0, places = 0, right = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    std::vector<int32_t> ids = prompts[i];
    ids.insert(ids.end(), outputs[i].tokens.begin(), outputs[i].tokens.end());
    const std::vector<int32_t> drafts = teacher_forced_drafts(model, executor, ids);
    // A step knows ids[known] and drafts what follows; it goes on one or two tokens further.
    int64_t expected_drafted = 0, expected_accepted = 0;
    for (size_t known = prompts[i].size(); known + 2 < ids.size();) {
      const bool good = drafts[known + 1] == ids[known + 1];
      ++expected_drafted;
      expected_accepted += good;
      known += good ? 2 : 1;
    }
    for (size_t at = prompts[i].size() + 1; at < ids.size(); ++at) {
      ++places;
      right += drafts[at] == ids[at];
    }
    const Usage& usage = outputs[i].finish.usage;
    EXPECT_EQ(usage.drafted_tokens, expected_drafted) << "prompt " << i;
    EXPECT_EQ(usage.accepted_tokens, expected_accepted) << "prompt " << i;
    drafted += usage.drafted_tokens;
    accepted += usage.accepted_tokens;
  }
  const double rate = static_cast<double>(accepted) / static_cast<double>(drafted);
  const double forced = static_cast<double>(right) / static_cast<double>(places);
  std::cout << "depth 1: " << accepted << " of " << drafted << " accepted (" << rate
            << "); teacher-forced at every place " << forced << "\n";
  EXPECT_NEAR(rate, forced, 5 * std::sqrt(forced * (1 - forced) / static_cast<double>(drafted)));
}

TEST(Speculative, AcceptanceOfTheFirstDraftIsTheTeacherForcedOne) {
  expect_acceptance_of_depth_one(load("models/pocket"), pocket_prompts(6), 32);
}

// The same loop on the definitions of all operations makes the same drafts.
void expect_drafts_of_the_definition(const std::vector<std::vector<int32_t>>& prompts,
                                     int64_t tokens, bool print) {
  const Model model = load("models/pocket");
  for (const int depth : {1, 2, 3}) {
    const auto fast = outputs_of(model, options_for(depth), prompts, {}, tokens);
    const auto slow = outputs_of(model, options_for(depth), prompts, {}, tokens, "ref");
    int64_t drafted = 0, accepted = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(fast[i].tokens, slow[i].tokens) << "prompt " << i;
      EXPECT_EQ(fast[i].finish.usage.drafted_tokens, slow[i].finish.usage.drafted_tokens);
      EXPECT_EQ(fast[i].finish.usage.accepted_tokens, slow[i].finish.usage.accepted_tokens);
      drafted += fast[i].finish.usage.drafted_tokens;
      accepted += fast[i].finish.usage.accepted_tokens;
    }
    if (print)
      std::cout << "depth " << depth << ": " << accepted << " of " << drafted << " accepted ("
                << static_cast<double>(accepted) / static_cast<double>(drafted) << ")\n";
  }
}

TEST(Speculative, BackendsMakeTheSameDrafts) {
  expect_drafts_of_the_definition(pocket_prompts(2), 12, true);
}

TEST(FullSpeculative, GreedyOutputIsThatWithoutDraftsOn200Prompts) {
  const Model model = load("models/pocket");
  const auto prompts = pocket_prompts(200);
  expect_drafts_change_nothing(model, prompts, {}, 48);
  expect_acceptance_of_depth_one(model, prompts, 48);
  for (const int depth : {1, 2, 3, 4}) {
    Engine engine(model, ops::select_backend(""), options_for(depth));
    std::vector<Generation> generations;
    for (const auto& prompt : prompts)
      generations.push_back(engine.submit({.tokens = prompt, .max_tokens = 48}));
    for (Generation& generation : generations) output_of(std::move(generation));
    const EngineMetrics metrics = engine.metrics();
    std::cout << "depth " << depth << ":";
    int64_t drafted = 0, accepted = 0;
    for (size_t i = 0; i < static_cast<size_t>(depth); ++i) {
      drafted += metrics.drafted[i];
      accepted += metrics.accepted[i];
      std::cout << " draft " << i + 1 << " "
                << static_cast<double>(metrics.accepted[i]) /
                       static_cast<double>(metrics.drafted[i]);
    }
    std::cout << ", of all " << static_cast<double>(accepted) / static_cast<double>(drafted) << "; "
              << metrics.output_tokens << " tokens in " << metrics.passes << " passes\n";
  }
}

TEST(FullSpeculative, BackendsMakeTheSameDraftsOnManyPrompts) {
  expect_drafts_of_the_definition(pocket_prompts(20), 32, true);
}

}  // namespace
}  // namespace qround
