// The commands on the pocket model, as a user runs them.
#include "base/json.h"
#include "checkpoint/safetensors.h"
#include "tests/cli/program.h"

namespace qround {
namespace {
namespace fs = std::filesystem;

class Commands : public ProgramTest {};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

TEST_F(Commands, DemoAnswersRight) {
  const ProgramResult demo = run("demo --plain");
  EXPECT_EQ(demo.status, 0) << demo.out << demo.err;
  EXPECT_NE(demo.out.find("Tokyo"), std::string::npos) << demo.out;
  EXPECT_NE(demo.out.find("12"), std::string::npos) << demo.out;
}

TEST_F(Commands, BenchMeasuresEveryBatchAndNumberOfDrafts) {
  const ProgramResult bench =
      run("bench " + pocket().string() + " --prompt 32 --decode 24 --batch 1,3 --mtp 0,2 --json" +
          " --prompt-file " + (pocket() / "evaluation.txt").string());
  ASSERT_EQ(bench.status, 0) << bench.err;
  const Json figures = Json::parse(bench.out);
  const Json::Array cases = figures.at("cases").as_array();
  ASSERT_EQ(cases.size(), 2u);
  for (const Json& one : cases) {
    EXPECT_GT(one.at("prefill_tokens_per_s").as_double(), 0);
    EXPECT_GT(one.at("decode_tokens_per_s").as_double(), 0);
  }
  const Json::Array drafts = figures.at("draft_cases").as_array();
  ASSERT_EQ(drafts.size(), 4u);
  EXPECT_EQ(drafts[0].at("drafted").as_int(), 0);
  EXPECT_EQ(drafts[1].at("mtp").as_int(), 2);
  EXPECT_GT(drafts[1].at("accepted").as_int(), 0);
  EXPECT_LT(drafts[1].at("passes").as_int(), drafts[0].at("passes").as_int());
}

TEST_F(Commands, BenchRefusesAPromptThatTheTextCannotFill) {
  write(folder / "short.txt", "too short");
  const ProgramResult bench =
      run("bench " + pocket().string() + " --prompt 32 --mtp 1 --prompt-file " +
          (folder / "short.txt").string());
  EXPECT_EQ(bench.status, 2);
  EXPECT_NE(bench.err.find("32 tokens"), std::string::npos) << bench.err;
}

using FullCommands = Commands;

TEST_F(FullCommands, DemoLearnsItsRoundingAndAnswersRight) {
  const ProgramResult demo = run("demo");
  EXPECT_EQ(demo.status, 0) << demo.out << demo.err;
  EXPECT_NE(demo.err.find("layer 3: loss"), std::string::npos) << demo.err;
}

// What `plan` says a job takes is what it takes, where tuning outweighs the program itself.
TEST_F(FullCommands, PlanPromisesTheMemoryOfTuning) {
  const std::string options = " --iters 2 --nsamples 64 --seqlen 256 --batch-size 32 --data " +
                              (pocket() / "calibration.jsonl").string() + " --json";
  const Json plan = Json::parse(run("plan " + pocket().string() + options).out);
  const double promised = plan.at("memory_needed_bytes").as_double();
  const std::string out = (folder / "int4").string();
  const ProgramResult quantize = run("quantize " + pocket().string() + " " + out + options);
  ASSERT_EQ(quantize.status, 0) << quantize.err;
  const double taken = Json::parse(quantize.out).at("peak_memory_bytes").as_double();
  EXPECT_LE(taken, promised);
  EXPECT_GE(taken, 0.8 * promised);
}

TEST_F(FullCommands, ABudgetMovesHiddenStatesToTheDiskAndIsKept) {
  const std::string options = " --iters 1 --nsamples 256 --seqlen 256 --batch-size 4 --data " +
                              (pocket() / "calibration.jsonl").string() + " --json --memory ";
  const Json plan = Json::parse(run("plan " + pocket().string() + options + "100M").out);
  EXPECT_TRUE(plan.at("activations_on_disk").as_bool());
  const std::string out = (folder / "int4").string();
  const ProgramResult quantize =
      run("quantize " + pocket().string() + " " + out + options + "100M");
  ASSERT_EQ(quantize.status, 0) << quantize.err;
  EXPECT_LE(Json::parse(quantize.out).at("peak_memory_bytes").as_int(), int64_t{100} << 20);
}

TEST_F(Commands, ABudgetTooSmallForABlockIsRefusedWithTheSmallestThatWorks) {
  const ProgramResult plan = run("plan " + pocket().string() + " --seqlen 256 --memory 20M");
  EXPECT_EQ(plan.status, 3);
  EXPECT_NE(plan.err.find("--memory"), std::string::npos) << plan.err;
}

TEST_F(Commands, QuantizedModelGeneratesFromItsOwnDirectory) {
  const std::string out = (folder / "int4").string();
  const ProgramResult quantize = run("quantize " + pocket().string() + " " + out + " --iters 0");
  ASSERT_EQ(quantize.status, 0) << quantize.err;
  const ProgramResult answer =
      run("generate " + out + " --chat --greedy --json -p 'What is 7 plus 5?'");
  ASSERT_EQ(answer.status, 0) << answer.err;
  const Json said = Json::parse(answer.out);
  EXPECT_NE(said.at("text").as_string().find("12"), std::string::npos);
  EXPECT_EQ(said.at("finish_reason").as_string(), "stop");
  const Json inspect = Json::parse(run("inspect --json " + out).out);
  EXPECT_EQ(inspect.at("int4_linears").as_int(), 109);
  const Json report = Json::parse_file(fs::path(out) / "report.json");
  EXPECT_EQ(report.at("schema").is_null(), false);
}

TEST_F(Commands, TokenizeAndDetokenizeAnswerLineByLine) {
  const ProgramResult ids =
      run("tokenize", "\"Hello world\"\n{\"text\": \"x<|im_end|>\"}\nnot json\n\n\"end\"\n");
  EXPECT_EQ(ids.status, 0);
  const std::vector<std::string> lines = lines_of(ids.out);
  ASSERT_EQ(lines.size(), 4u) << ids.out;
  EXPECT_NE(Json::parse(lines[2]).find("error"), nullptr);
  const ProgramResult text = run("detokenize", lines[0] + "\n" + lines[1] + "\n");
  EXPECT_EQ(Json::parse(lines_of(text.out).at(0)).at("text").as_string(), "Hello world");
  EXPECT_EQ(Json::parse(lines_of(text.out).at(1)).at("text").as_string(), "x<|im_end|>");
  const ProgramResult plain = run("detokenize --skip-special", lines[1] + "\n");
  EXPECT_EQ(Json::parse(lines_of(plain.out).at(0)).at("text").as_string(), "x");
}

TEST_F(Commands, LogitsWritesTheNamesAndShapesOfTheReference) {
  write(folder / "ids.json", "[[1, 2, 3, 4], [5]]");
  const std::string out = (folder / "out.safetensors").string();
  const ProgramResult result =
      run("logits " + pocket().string() + " --ids " + (folder / "ids.json").string() + " -o " +
          out + " --mtp 2 --hidden");
  ASSERT_EQ(result.status, 0) << result.err;
  const SafetensorsFile file{fs::path(out)};
  EXPECT_EQ(file.view("0.logits").shape, (Shape{4, 1408}));
  EXPECT_EQ(file.view("0.mtp2.logits").shape, (Shape{2, 1408}));
  EXPECT_EQ(file.view("1.hidden.4").shape, (Shape{1, 256}));
  EXPECT_EQ(file.find("1.mtp1.logits"), nullptr);
}

TEST_F(Commands, ChatKeepsTheConversation) {
  const ProgramResult chat =
      run("chat --greedy --thinking off -q",
          "What is the capital of Japan?\nWhat is 7 plus 5?\n/reset\n/exit\n");
  EXPECT_EQ(chat.status, 0) << chat.err;
  EXPECT_NE(chat.out.find("Tokyo"), std::string::npos) << chat.out;
  EXPECT_NE(chat.out.find("12"), std::string::npos) << chat.out;
}

TEST_F(Commands, SampledTextRepeatsWithItsSeed) {
  const auto sample = [&](const char* seed) {
    return run(std::string("generate -q -n 24 --temperature 1.5 --top-k 0 -p 'Mia has' --seed ") +
               seed)
        .out;
  };
  EXPECT_EQ(sample("1"), sample("1"));
  EXPECT_NE(sample("1"), sample("2"));
}

TEST_F(Commands, InfoListsTheBackends) {
  const Json info = Json::parse(run("info --json").out);
  std::vector<std::string> names;
  for (const Json& backend : info.at("backends").as_array())
    names.push_back(backend.at("name").as_string());
  EXPECT_EQ(names, (std::vector<std::string>{"cuda", "cpu", "ref"}));
}

}  // namespace
}  // namespace qround
