// `qround eval` as its user runs it.
#include "base/json.h"
#include "tests/cli/program.h"

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
  const ProgramResult loose = run(beside_source() + " --limit 2 --max-kld 1 --max-ppl-ratio 2");
  EXPECT_EQ(loose.status, 0) << loose.err;
  EXPECT_NE(loose.out.find("KL divergence"), std::string::npos);
  const ProgramResult tight = run(beside_source() + " --limit 2 --max-kld 1e-9");
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

TEST_F(EvalCommand, BadInputIsNamed) {
  EXPECT_EQ(run("eval --data " + (folder / "absent.txt").string()).status, 2);
  EXPECT_EQ(run("eval --protocol other").status, 2);
  write(folder / "bad.jsonl", "\"fine\"\n{\"txt\": 1}\n");
  const ProgramResult bad = run("eval --data " + (folder / "bad.jsonl").string());
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.err.find("line 2"), std::string::npos) << bad.err;
}

}  // namespace
}  // namespace qround
