#include "engine/session.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qround {
namespace {

class SessionTest : public testing::Test {
 protected:
  Model model = Model::load(std::make_shared<Checkpoint>(Checkpoint::open(
      std::filesystem::path(QROUND_SOURCE_DIR) / "tests/data/golden/micro/model")));
  ops::Workspace workspace;
  Executor executor{ops::select_backend(""), {Threads{1}, workspace}};
};

TEST_F(SessionTest, RefusesAnEmptyPrompt) {
  Session session(model, executor, {});
  EXPECT_THROW(session.append({}), Error);
}

TEST_F(SessionTest, RefusesAPromptLongerThanItsContextAndSaysBothLengths) {
  Session session(model, executor, {.context = 4});
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5};
  try {
    session.append(prompt);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.expected(), "at most 4 tokens");
    EXPECT_EQ(error.actual(), "5");
  }
  session.append(std::span(prompt).first(4));
  EXPECT_EQ(session.tokens().size(), 4u);
}

TEST_F(SessionTest, RefusesAContextBeyondTheModels) {
  EXPECT_THROW(Session(model, executor, {.context = 1 << 30}), Error);
}

TEST_F(SessionTest, RefusesAnIdOutsideTheVocabulary) {
  Session session(model, executor, {});
  for (const int32_t id : {-1, 96, 1 << 30}) {
    EXPECT_THROW(session.append(std::span(&id, 1)), Error) << id;
  }
}

TEST_F(SessionTest, GenerationEndsAtStopTokenLengthContextAndRequest) {
  const std::vector<int32_t> prompt = {20, 21, 22, 23, 24, 25, 26, 27};  // continues 24, 38, 52, 2
  const auto reason = [&](SessionOptions session_options, GenerateOptions options,
                          int stop_after = 1000) {
    Session session(model, executor, session_options);
    session.append(prompt);
    int n = 0;
    return generate(session, options, [&](int32_t) { return ++n < stop_after; }).reason;
  };
  const SamplingOptions greedy;
  EXPECT_EQ(reason({}, {greedy, 4, {}, nullptr}), FinishReason::length);
  EXPECT_EQ(reason({}, {greedy, 4, {52}, nullptr}), FinishReason::stop_token);
  EXPECT_EQ(reason({.context = 10}, {greedy, 40, {}, nullptr}), FinishReason::context_full);
  EXPECT_EQ(reason({}, {greedy, 40, {}, nullptr}, 2), FinishReason::stop_requested);
  const std::atomic<bool> interrupt{true};
  EXPECT_EQ(reason({}, {greedy, 40, {}, &interrupt}), FinishReason::interrupted);
}

TEST_F(SessionTest, PrefillInChunksGivesTheSameLogitsWithinRounding) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 70; ++i) prompt.push_back(i);
  Session whole(model, executor, {}), chunked(model, executor, {.prefill_chunk = 13});
  whole.append(prompt);
  chunked.append(prompt);
  float largest = 0, distance = 0;
  for (size_t i = 0; i < whole.logits().size(); ++i) {
    largest = std::max(largest, std::abs(whole.logits()[i]));
    distance = std::max(distance, std::abs(whole.logits()[i] - chunked.logits()[i]));
  }
  EXPECT_LE(distance, 1e-4f * largest);
}

}  // namespace
}  // namespace qround
