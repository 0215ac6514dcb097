// `qround eval` as its user runs it.
#include "base/json.h"
#include "tests/cli/program.h"
#include "tests/oracle_script.h"

namespace qround {
namespace {

class EvalCommand : public ProgramTest {
 protected:
  static std::string rtn() {
    return (std::filesystem::path(QROUND_SOURCE_DIR) / "tests/data/golden/autoround-rtn").string();
  }
  static std::string beside_source() { return "eval " + rtn() + " --source " + pocket().string(); }
};

TEST_F(EvalCommand, BoundsDecideTheExitStatus) {
  const ProgramResult loose =
      run(beside_source() + " --limit 2 --draft-prompts 0 --max-kld 1 --max-ppl-ratio 2");
  EXPECT_EQ(loose.status, 0) << loose.err;
  EXPECT_NE(loose.out.find("KL divergence"), std::string::npos);
  const ProgramResult tight = run(beside_source() + " --limit 2 --draft-prompts 0 --max-kld 1e-9");
  EXPECT_EQ(tight.status, 1);
  EXPECT_NE(tight.err.find("above 1e-09"), std::string::npos) << tight.err;
  EXPECT_EQ(run("eval " + rtn() + " --max-kld 1").status, 2);
}

TEST_F(EvalCommand, JsonNamesProtocolAndText) {
  write(folder / "text.txt", std::string(4000, 'a') + " Q: What is 7 plus 5?\nA: 12\n");
  const ProgramResult result =
      run("eval --json --protocol hf --context 64 --stride 32 --bos 3 --data " +
          (folder / "text.txt").string());
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json.at("protocol").at("context").as_int(), 64);
  EXPECT_EQ(json.at("protocol").at("stride").as_int(), 32);
  EXPECT_EQ(json.at("protocol").at("bos").as_int(), 3);
  const int64_t tokens = json.at("data").at("tokens").as_int();
  EXPECT_EQ(json.at("lanes").as_array().at(0).at("targets").as_int(), tokens - 1);
}

// Figures without what differs from run to run.
Json lasting(const std::string& text) {
  Json figures = Json::parse(text);
  for (const char* member : {"seconds", "peak_memory_bytes"}) figures.as_object().erase(member);
  return figures;
}

TEST_F(EvalCommand, AKilledRunContinuesToTheSameFigures) {
  // A pass per window, the state written after every block.
  const std::string command = beside_source() +
                              " --limit 6 --memory 1K --json --draft-prompts 0 --state-seconds 0 "
                              "--state " +
                              (folder / "state").string();
  const std::string script =
      std::string(QROUND_BINARY) + " " + command + " > /dev/null 2>&1 & pid=$!; while [ ! -f " +
      (folder / "state").string() + " ]; do sleep 0.01; done; kill -9 $pid; wait $pid";
  ASSERT_NE(std::system(script.c_str()), 0);
  ASSERT_TRUE(std::filesystem::exists(folder / "state"));
  const ProgramResult resumed = run(command);
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("continuing the work"), std::string::npos) << resumed.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "state"));
  const ProgramResult whole = run(beside_source() + " --limit 6 --json --draft-prompts 0");
  EXPECT_EQ(lasting(resumed.out), lasting(whole.out));
}

TEST_F(EvalCommand, FiguresGoIntoTheReportAndItsPage) {
  const std::string report = (folder / "report.json").string();
  ASSERT_EQ(run(beside_source() + " --limit 2 --draft-prompts 0 -q --report " + report).status, 0);
  const Json written = Json::parse_file(report);
  EXPECT_EQ(written.at("schema").as_int(), 2);
  EXPECT_EQ(written.at("eval").at("windows").as_int(), 2);
  const std::string page = (folder / "page.html").string(), card = (folder / "card.md").string();
  const ProgramResult made =
      run("report " + rtn() + " --report " + report + " --page " + page + " --card " + card);
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_NE(read_file(page).find("<svg"), std::string::npos);
  EXPECT_NE(read_file(card).find("KL divergence"), std::string::npos);
  EXPECT_EQ(run("report " + rtn()).status, 2);  // it has no report of its own
}

TEST_F(EvalCommand, BadInputIsNamed) {
  EXPECT_EQ(run("eval --data " + (folder / "absent.txt").string()).status, 2);
  EXPECT_EQ(run("eval --protocol other").status, 2);
  write(folder / "bad.jsonl", "\"fine\"\n{\"txt\": 1}\n");
  const ProgramResult bad = run("eval --data " + (folder / "bad.jsonl").string());
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.err.find("line 2"), std::string::npos) << bad.err;
}

TEST(OracleReport, ThePageShowsWhatTheReportSays) {
  run_oracle("report_page.py - " + testing::TempDir());
}

}  // namespace
}  // namespace qround
