#include "eval/drafting.h"

#include <gtest/gtest.h>

#include <memory>

#include "eval/row_scores.h"
#include "tokenizer/tokenizer.h"

namespace qround::eval {
namespace {

class Drafting : public testing::Test {
 protected:
  std::filesystem::path directory_ = std::filesystem::path(QROUND_SOURCE_DIR) / "models/pocket";
  Model model_ = Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory_)));
  ops::Workspace workspace_;
  Executor executor_{ops::select_host_backend(), {Threads::all(), workspace_}};
  std::vector<int32_t> prompt_ =
      Tokenizer::load(directory_).encode("Q: What is the capital of Japan?\nA:");

  int32_t top_of(const float* hidden) {
    std::vector<float> logits(static_cast<size_t>(model_.config().vocab));
    model_.logits(hidden, 1, logits.data(), executor_);
    return top_token(logits);
  }
};

// The first draft of every step reads true hidden states only, so one pass of the head over the
// whole text gives all of them.
TEST_F(Drafting, FirstDraftsAreThoseOfOnePassOverTheText) {
  constexpr size_t kNewTokens = 40;
  const auto width = static_cast<size_t>(model_.config().hidden);
  std::vector<int32_t> ids = prompt_;
  std::vector<float> hidden;
  while (ids.size() < prompt_.size() + kNewTokens) {  // from the start each time
    SequenceState state(model_.config());
    hidden.resize(ids.size() * width);
    model_.forward(ids, state, hidden.data(), executor_);
    ids.push_back(top_of(hidden.data() + (ids.size() - 1) * width));
  }
  const auto next = std::span<const int32_t>(ids).subspan(1);
  SequenceState state = model_.empty_mtp_state();
  const SequenceRows rows{.state = &state, .tokens = static_cast<int64_t>(next.size())};
  std::vector<float> out(hidden.size());
  model_.mtp_forward(next, hidden.data(), std::span(&rows, 1), out.data(), executor_);
  int64_t steps = 0, accepted = 0;
  for (size_t known = prompt_.size(); known + 1 < ids.size(); ++steps) {
    const bool right = top_of(out.data() + (known - 1) * width) == ids[known + 1];
    accepted += right;
    known += right ? 2 : 1;
  }
  const auto counts = draft_along(model_, {prompt_}, kNewTokens, executor_, nullptr);
  EXPECT_EQ(counts.at(0).steps, steps);
  EXPECT_EQ(counts.at(0).accepted[0], accepted);
}

TEST_F(Drafting, StepsAndAcceptedDraftsCoverTheText) {
  constexpr int64_t kNewTokens = 48;
  for (const DraftingCounts& counts :
       draft_along(model_, {prompt_}, kNewTokens, executor_, nullptr)) {
    int64_t tokens = counts.steps;
    for (size_t i = 0; i < counts.accepted.size(); ++i) {
      tokens += counts.accepted[i];
      EXPECT_LE(counts.accepted[i], counts.accepted[i == 0 ? 0 : i - 1]);
    }
    // The last tokens leave no room for a whole step.
    EXPECT_LE(tokens, kNewTokens);
    EXPECT_GE(tokens, kNewTokens - counts.depth);
    EXPECT_GT(counts.tokens_per_step(), 1.0);
  }
}

}  // namespace
}  // namespace qround::eval
