#include "eval/multiple_choice.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "eval/evaluation.h"

namespace qround::eval {
namespace {

class MultipleChoice : public testing::Test {
 protected:
  MultipleChoice() : path_(testing::TempDir() + "choices_" + std::to_string(getpid()) + ".jsonl") {}
  ~MultipleChoice() override { std::filesystem::remove(path_); }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }

  std::filesystem::path path_;
  std::filesystem::path pocket_ = std::filesystem::path(QROUND_SOURCE_DIR) / "models/pocket";
};

TEST_F(MultipleChoice, OnlyTheChoicesTokensAreScored) {
  write(
      "{\"question\": \"Q: What is 7 plus 5?\\nA:\", \"choices\": [\"12\", \"twelve\"], "
      "\"answer\": 0}\n");
  const Tokenizer tokenizer = Tokenizer::load(pocket_);
  const ChoiceTask task = load_choices(path_, tokenizer);
  ASSERT_EQ(task.text.windows.size(), 2u);
  const auto context = tokenizer.encode("Q: What is 7 plus 5?\nA:").size();
  const auto whole = tokenizer.encode("Q: What is 7 plus 5?\nA: 12");
  const Window& window = task.text.windows[0];
  EXPECT_EQ(window.first_row, static_cast<int64_t>(context) - 1);
  EXPECT_EQ(window.targets(), static_cast<int64_t>(whole.size() - context));
  EXPECT_EQ(task.questions[0].characters, (std::vector<int64_t>{2, 6}));
}

TEST_F(MultipleChoice, TheLikeliestChoiceIsPicked) {
  write(
      "{\"question\": \"Q: What is the capital of Japan?\\nA:\", \"choices\": [\"Paris\", "
      "\"Tokyo\", \"Rome\"], \"answer\": \"Tokyo\"}\n\n"
      "{\"question\": \"Q: What is 7 plus 5?\\nA:\", \"choices\": [\"12\", \"13\"], \"answer\": "
      "1}\n");
  EvaluationSpec spec;
  spec.directory = pocket_;
  spec.run.threads = Threads::all();
  const ChoiceEvaluation result = run_choice_evaluation(spec, path_);
  ASSERT_EQ(result.lanes.size(), 1u);
  EXPECT_EQ(result.lanes[0].picks, (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(result.lanes[0].accuracy.value, 0.5);  // the file calls 13 the sum of 7 and 5
}

TEST_F(MultipleChoice, UnreadableQuestionsAreNamedByLine) {
  const Tokenizer tokenizer = Tokenizer::load(pocket_);
  for (const char* line : {"{\"question\": \"a\", \"choices\": [\"b\"], \"answer\": 0}",
                           "{\"question\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 2}",
                           "{\"question\": \" \", \"choices\": [\"b\", \"c\"], \"answer\": 1}",
                           "{\"choices\": [\"b\", \"c\"], \"answer\": 1}", "[]", "{"}) {
    std::string text("\n");
    text += line;
    write(text);
    try {
      load_choices(path_, tokenizer);
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_NE(error.actual().find("line 2"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace qround::eval
