// `qround verify` as its user runs it: exit statuses, verdicts, explanations.
#include <algorithm>

#include "tests/cli/program.h"

namespace qround {
namespace {
namespace fs = std::filesystem;

class VerifyCommand : public ProgramTest {
 protected:
  // auto-round's plain export, which a test may damage.
  fs::path copy() const {
    const fs::path directory = folder / "copy";
    fs::remove_all(directory);
    fs::copy(fs::path(QROUND_SOURCE_DIR) / "tests/data/golden/autoround-rtn", directory);
    return directory;
  }
};

TEST_F(VerifyCommand, DefectsOfTheDirectoryEndWithOne) {
  const fs::path good = copy();
  EXPECT_EQ(run("verify -q " + good.string()).status, 0);
  const std::vector<std::string> damages = {
      "rm config.json",
      "truncate -s 100 config.json",
      "rm model-00001-of*",
      "truncate -s 1000 model-00002-of*",
      "rm *index.json",
      "echo '{}' > config.json",
      "rm *",
      "echo '{}' > quantize_config.json",
      "rm tokenizer.json; mkdir config.d; mv config.json config.d; ln -s config.d config.json"};
  for (const std::string& damage : damages) {
    const fs::path damaged = copy();
    ASSERT_EQ(std::system(("cd " + damaged.string() + " && " + damage).c_str()), 0) << damage;
    const ProgramResult result = run("verify -q " + damaged.string());
    EXPECT_EQ(result.status, 1) << damage << "\n" << result.out << result.err;
    EXPECT_NE(result.out.find("FAILED"), std::string::npos) << damage;
  }
}

TEST_F(VerifyCommand, WrongUseEndsWithTwo) {
  const std::string good = copy().string();
  write(folder / "file", "");
  const std::vector<std::string> wrong = {"",
                                          "/nowhere",
                                          (folder / "file").string(),
                                          good + " --tp 0",
                                          good + " --tp x",
                                          good + " --consumer llama",
                                          "--explain nothing",
                                          good + " --nonsense"};
  for (const std::string& arguments : wrong) {
    EXPECT_EQ(run("verify " + arguments).status, 2) << arguments;
  }
}

TEST_F(VerifyCommand, EndsWithOneLineForEachConsumerAndNumberOfGpus) {
  for (const std::string damage : {"true", "rm config.json"}) {
    const fs::path directory = copy();
    ASSERT_EQ(std::system(("cd " + directory.string() + " && " + damage).c_str()), 0);
    const std::string text = run("verify -q --tp 1,2 " + directory.string()).out;
    const size_t verdicts = text.find("\n", text.find(" rules checked"));
    const std::string end = text.substr(verdicts + 1);
    EXPECT_EQ(std::count(end.begin(), end.end(), '\n'), 4 * 2 + 1) << end;
    for (const char* consumer : {"vllm<=0.21", "vllm0.22-0.24", "vllm>=0.25", "sglang"})
      EXPECT_NE(end.find(std::string("  ") + consumer), std::string::npos) << end;
  }
}

TEST_F(VerifyCommand, ExplainsRulesAndConsumers) {
  EXPECT_NE(run("verify --explain zeros").out.find("mend"), std::string::npos);
  const std::string vllm = run("verify --explain vllm").out;
  for (const char* group : {"vllm<=0.21\n", "vllm0.22-0.24\n", "vllm>=0.25\n"})
    EXPECT_NE(vllm.find(group), std::string::npos) << vllm;
}

}  // namespace
}  // namespace qround
