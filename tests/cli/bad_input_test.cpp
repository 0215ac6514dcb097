// Bad input at the command line: a clear message, the documented exit status, nothing lost.
#include <sys/mount.h>

#include "base/json.h"
#include "tests/cli/program.h"

namespace qround {
namespace {
namespace fs = std::filesystem;

class BadInput : public ProgramTest {
 protected:
  // EXPECTs that the program refuses with status 2 and names all of `words`.
  void expect_refused(const std::string& arguments, const std::vector<std::string>& words,
                      int status = 2) const {
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.status, status) << result.err;
    for (const std::string& word : words)
      EXPECT_NE(result.err.find(word), std::string::npos) << word << " not in:\n" << result.err;
  }
  static void edit_json(const fs::path& path, const std::function<void(Json&)>& edit) {
    Json value = Json::parse_file(path);
    edit(value);
    write(path, value.dump());
  }
};

constexpr const char* kSecondShard = "model-00002-of-00002.safetensors";

TEST_F(BadInput, UnknownCommandsAndFlagsAreUsageErrors) {
  EXPECT_EQ(run("").status, 2);
  EXPECT_EQ(run("frobnicate").status, 2);
  EXPECT_EQ(run("plan --no-such-flag").status, 2);
  EXPECT_EQ(run("--help").status, 0);
  EXPECT_EQ(run("quantize --help").status, 0);
}

TEST_F(BadInput, AMissingDirectoryIsNamed) {
  expect_refused("plan /nowhere/model", {"no such directory", "/nowhere/model"});
}

TEST_F(BadInput, AMissingShardIsNamed) {
  const fs::path model = pocket_copy();
  fs::remove(model / kSecondShard);
  expect_refused("plan " + model.string(), {kSecondShard});
}

TEST_F(BadInput, ATruncatedShardIsNamedWithAHint) {
  const fs::path model = pocket_copy();
  fs::resize_file(model / kSecondShard, fs::file_size(model / kSecondShard) - 1000);
  expect_refused("plan " + model.string(), {kSecondShard, "hint"});
}

TEST_F(BadInput, AnIndexThatNamesAnAbsentTensorIsRefused) {
  const fs::path model = pocket_copy();
  edit_json(model / "model.safetensors.index.json", [](Json& index) {
    Json map = index.at("weight_map");
    map.set("model.language_model.layers.9.ghost", kSecondShard);
    index.set("weight_map", std::move(map));
  });
  expect_refused("plan " + model.string(), {"layers.9.ghost"});
}

TEST_F(BadInput, AnUnknownArchitectureIsRefusedByName) {
  const fs::path model = pocket_copy();
  edit_json(model / "config.json", [](Json& config) {
    config.set("architectures", Json::array({Json("GPT2LMHeadModel")}));
  });
  expect_refused("plan " + model.string(),
                 {"GPT2LMHeadModel", "Qwen3_5MoeForConditionalGeneration"});
}

TEST_F(BadInput, AConfigThatDoesNotFitTheTensorsIsRefusedTensorByTensor) {
  const fs::path model = pocket_copy();
  edit_json(model / "config.json", [](Json& config) {
    Json text = config.at("text_config");
    text.set("hidden_size", 512);
    config.set("text_config", std::move(text));
  });
  expect_refused("generate " + model.string() + " -p x",
                 {"embed_tokens", "[1408, 512]", "[1408, 256]"});
}

TEST_F(BadInput, AnUnknownTokenizerKindIsRefusedByName) {
  const fs::path model = pocket_copy();
  edit_json(model / "tokenizer.json", [](Json& tokenizer) {
    tokenizer.set("model", Json::parse(R"({"type": "Unigram", "vocab": []})"));
  });
  expect_refused("tokenize " + model.string(), {"Unigram"});
}

TEST_F(BadInput, ATemplateThatNeverEndsIsStopped) {
  write(folder / "loop.jinja",
        "{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}");
  const ProgramResult result =
      run("render " + pocket().string() + " --template " + (folder / "loop.jinja").string(),
          "{\"messages\": []}\n");
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("\"error\""), std::string::npos) << result.out.substr(0, 200);
}

TEST_F(BadInput, EmptyAndOverlongPromptsAreRefused) {
  expect_refused("generate -p ''", {"prompt is empty"});
  expect_refused("generate -p 'one two three four five six seven' --ctx 3",
                 {"longer than the context", "at most 3 tokens"});
}

TEST_F(BadInput, AnOutputThatIsNotEmptyIsLeftAlone) {
  const fs::path out = folder / "out";
  fs::create_directory(out);
  write(out / "precious.txt", "keep me");
  expect_refused("quantize --iters 0 " + pocket().string() + " " + out.string(), {out.string()});
  EXPECT_EQ(read_file(out / "precious.txt"), "keep me");
  EXPECT_EQ(std::distance(fs::directory_iterator(out), fs::directory_iterator()), 1);
}

TEST_F(BadInput, LearnedRoundingWithoutCalibrationTextSaysWhatToDo) {
  expect_refused("quantize " + pocket().string() + " " + (folder / "out").string(),
                 {"--data", "--iters 0"});
}

TEST_F(BadInput, APatternThatMatchesNothingIsRefused) {
  expect_refused("plan " + pocket().string() + " --keep '*.no_such_module'", {"no_such_module"});
}

// Needs the right to mount; everywhere else the layers below are tested with /dev/full.
TEST_F(BadInput, ADiskThatIsTooSmallPrintsTheWholePlanFirst) {
  const fs::path disk = folder / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1m") != 0) {
    std::fprintf(stderr,
                 "mounting is not allowed here: checked with a limit on file sizes instead\n");
    const ProgramResult limited =
        run("--version; ulimit -f 100; trap '' XFSZ; " QROUND_BINARY "  quantize --iters 0 " +
            pocket().string() + " " + (folder / "out").string());
    EXPECT_NE(limited.status, 0);
    EXPECT_FALSE(fs::exists(folder / "out/model.safetensors.index.json"));
    return;
  }
  const ProgramResult plan = run("plan " + pocket().string() + " " + (disk / "out").string());
  const ProgramResult quantize =
      run("quantize --iters 0 " + pocket().string() + " " + (disk / "out").string());
  const bool finished = fs::exists(disk / "out/model.safetensors.index.json");
  umount(disk.c_str());
  EXPECT_EQ(plan.status, 3) << plan.err;
  EXPECT_NE(plan.out.find("experts.gate_proj"), std::string::npos) << plan.out;
  EXPECT_EQ(quantize.status, 3) << quantize.err;
  EXPECT_FALSE(finished);
}

}  // namespace
}  // namespace qround
