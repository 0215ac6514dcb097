// Drafts are accepted as often as the head's own quality says: the first of a step as often as in a
// teacher-forced pass, and all of them are the very drafts that the definitions of the operations
// give in the same loop.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <iostream>

#include "engine/batch_pass.h"
#include "tests/engine/drafting.h"

namespace qround {
namespace {

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
  const Executor executor{ops::select_host_backend(), {Threads{2}, workspace}};
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

TEST(Acceptance, AcceptanceOfTheFirstDraftIsTheTeacherForcedOne) {
  expect_acceptance_of_depth_one(load("models/pocket"), pocket_prompts(6), 32);
}

TEST(FullAcceptance, OfTheFirstDraftIsTheTeacherForcedOneOn200Prompts) {
  expect_acceptance_of_depth_one(load("models/pocket"), pocket_prompts(200), 48);
}

// What a step of the loop drafted, and how much of it was accepted.
struct Step {
  std::vector<int32_t> drafts;
  int64_t accepted = 0;
  bool operator==(const Step&) const = default;
};

struct Drafted {
  std::vector<int32_t> tokens;  // the output
  std::vector<Step> steps;
  bool operator==(const Drafted&) const = default;
};

// The greedy output of one prompt in steps of `depth` drafts: the engine's loop, laid open.
Drafted draft_steps(const Model& model, const char* backend, const std::vector<int32_t>& prompt,
                    int depth, size_t tokens) {
  ops::Workspace workspace;
  const Executor executor{ops::select_backend(backend), {Threads{1}, workspace}};
  const auto rows = static_cast<int64_t>(prompt.size()) + 1 + depth;
  BatchPass pass(model, executor, rows, 1 + depth);
  Timeline line{.tokens = prompt,
                .prompt_tokens = static_cast<int64_t>(prompt.size()),
                .state = SequenceState(model.config()),
                .mtp = model.empty_mtp_state(),
                .last_hidden = {model.memory(), model.config().hidden}};
  line.state.reserve(1 + depth, static_cast<int64_t>(prompt.size() + tokens) + 1 + depth);
  Drafted drafted;
  while (drafted.tokens.size() < tokens) {
    Step step{.drafts = {line.drafts.begin(), line.drafts.begin() + line.n_drafts}};
    PassMember member{.timeline = &line, .tokens = line.pending()};
    pass.run(std::span(&member, 1));
    for (int64_t row = 0; row < member.n_logits; ++row) {
      const std::span<const float> logits = pass.logits(row);
      const auto likeliest = std::max_element(logits.begin(), logits.end()) - logits.begin();
      line.tokens.push_back(static_cast<int32_t>(likeliest));
      drafted.tokens.push_back(line.tokens.back());
      const bool right = row < static_cast<int64_t>(step.drafts.size()) &&
                         step.drafts[static_cast<size_t>(row)] == line.tokens.back();
      if (!right) break;
      ++step.accepted;
    }
    pass.keep(member, member.tokens + step.accepted);
    if (!step.drafts.empty()) drafted.steps.push_back(std::move(step));
    member.wanted_drafts = depth;
    pass.draft(std::span(&member, 1));
  }
  drafted.tokens.resize(tokens);
  return drafted;
}

std::vector<Drafted> draft_all(const Model& model, const char* backend,
                               const std::vector<std::vector<int32_t>>& prompts, int depth,
                               size_t tokens) {
  std::vector<Drafted> all(prompts.size());
  parallel_for(Threads{2}, prompts.size(), [&](size_t i, int) {
    all[i] = draft_steps(model, backend, prompts[i], depth, tokens);
  });
  return all;
}

void print_acceptance(int depth, const std::vector<Drafted>& all) {
  std::array<int64_t, DraftOptions::kMaxDepth> drafted{}, accepted{};
  int64_t all_drafted = 0, all_accepted = 0;
  for (const Drafted& one : all)
    for (const Step& step : one.steps) {
      all_drafted += static_cast<int64_t>(step.drafts.size());
      all_accepted += step.accepted;
      for (size_t i = 0; i < step.drafts.size(); ++i) {
        if (static_cast<int64_t>(i) > step.accepted) break;
        ++drafted[i];
        accepted[i] += static_cast<int64_t>(i) < step.accepted;
      }
    }
  const auto share = [](int64_t part, int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  };
  std::cout << "depth " << depth << ": " << all_accepted << " of " << all_drafted
            << " drafts accepted, " << share(all_accepted, all_drafted) << "; by place, those "
            << "before it accepted:";
  for (size_t i = 0; i < static_cast<size_t>(depth); ++i)
    std::cout << " " << share(accepted[i], drafted[i]);
  std::cout << "\n";
}

void expect_the_drafts_of_the_definitions(size_t prompts, size_t tokens) {
  const Model model = load("models/pocket");
  const auto texts = pocket_prompts(prompts);
  for (const int depth : {1, 2, 3}) {
    const std::vector<Drafted> fast = draft_all(model, "cpu", texts, depth, tokens);
    const std::vector<Drafted> slow = draft_all(model, "ref", texts, depth, tokens);
    for (size_t i = 0; i < texts.size(); ++i)
      EXPECT_TRUE(fast[i] == slow[i]) << "depth " << depth << ", prompt " << i;
    print_acceptance(depth, fast);
  }
}

TEST(Acceptance, EveryDraftIsThatOfTheDefinitions) { expect_the_drafts_of_the_definitions(2, 12); }

TEST(FullAcceptance, EveryDraftIsThatOfTheDefinitionsOn200Prompts) {
  expect_the_drafts_of_the_definitions(200, 48);
}

// The loop above is the engine's: same text, same number of drafts and of accepted ones.
TEST(Acceptance, TheEngineDraftsAsTheLoopDoes) {
  const Model model = load("models/pocket");
  const auto prompts = pocket_prompts(6);
  for (const int depth : {1, 2, 3}) {
    constexpr int64_t kTokens = 30;
    const auto outputs = outputs_of(model, options_for(depth), prompts, {}, kTokens);
    const auto loop = draft_all(model, "cpu", prompts, depth, kTokens);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(outputs[i].tokens, loop[i].tokens);
      // Near the end the engine drafts no more than tokens are left.
      int64_t accepted = 0, known = 1;
      for (const Step& step : loop[i].steps) {
        const int64_t left = kTokens - known;
        accepted += std::min(step.accepted, std::max<int64_t>(0, left - 1));
        known += step.accepted + 1;
      }
      EXPECT_EQ(outputs[i].finish.usage.accepted_tokens, accepted) << i;
    }
  }
}

}  // namespace
}  // namespace qround
