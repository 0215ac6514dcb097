// The job from end to end on the pocket model.
#include "quant/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "base/hash.h"
#include "checkpoint/gptq_int4.h"
#include "quant/export_plan.h"
#include "tests/quant/job_fixture.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::map<std::string, std::string> hashes_of(const fs::path& directory) {
  std::map<std::string, std::string> hashes;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string name = fs::relative(entry.path(), directory).string();
    if (entry.is_regular_file() && name != kReportFileName)
      hashes[name] = sha256_of_file(entry.path());
  }
  return hashes;
}

bool same_bytes(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

TEST(Job, QuantizesPocketAndFindsNothingWrong) {
  const TestDirectory directory;
  const Report report = quantize(job_spec(pocket(), directory / "out"));
  EXPECT_EQ(report.rule_errors(), 0);
  EXPECT_EQ(report.rule_warnings(), 0);
  EXPECT_GE(report.rules_checked(), 11);
  EXPECT_EQ(report.linears_quantized, 4 * 8 * 3 + 3 * 3 + 4);
  EXPECT_EQ(report.tensors_before, 124);
  ASSERT_FALSE(report.errors.empty());
  for (const ErrorSummary& error : report.errors) {
    EXPECT_GT(error.min, 0.05) << error.kind;
    EXPECT_LT(error.max, 0.15) << error.kind;
  }
  const Json json = Json::parse_file(directory / "out/report.json");
  EXPECT_EQ(json.at("linears").at("quantized").as_int(), report.linears_quantized);
  EXPECT_EQ(json.at("schema").as_int(), Report::kSchemaVersion);
}

// Auto-round's own export of pocket by plain rounding, made independently.
TEST(Job, GivesTheCodesAndScalesOfAutoRoundsExport) {
  const TestDirectory directory;
  quantize(job_spec(pocket(), directory / "out"));
  const Checkpoint ours = Checkpoint::open(directory / "out");
  const Checkpoint theirs =
      Checkpoint::open(fs::path(QROUND_SOURCE_DIR) / "tests/data/golden/autoround-rtn");
  int64_t n_compared = 0;
  for (const TensorEntry& entry : theirs.tensors()) {
    if (entry.dtype != DType::i32 && entry.dtype != DType::f16) continue;
    ASSERT_NE(ours.find(entry.name), nullptr) << entry.name;
    EXPECT_TRUE(same_bytes(ours.view(entry.name), theirs.view(entry))) << entry.name;
    ++n_compared;
  }
  EXPECT_EQ(n_compared, 109 * 3);
}

TEST(Job, CopiesEverythingElseByteForByte) {
  const TestDirectory directory;
  quantize(job_spec(pocket(), directory / "out"));
  const Checkpoint source = Checkpoint::open(pocket());
  const Checkpoint out = Checkpoint::open(directory / "out");
  EXPECT_TRUE(same_bytes(source.view("lm_head.weight"), out.view("lm_head.weight")));
  const std::string fused = "mtp.layers.0.mlp.experts.gate_up_proj";
  EXPECT_TRUE(same_bytes(source.view(fused), out.view(fused))) << "MTP experts stay fused";
  EXPECT_EQ(out.find("model.language_model.layers.0.mlp.experts.gate_up_proj"), nullptr);
  const auto before = hashes_of(pocket()), after = hashes_of(directory / "out");
  for (const char* file : {"tokenizer.json", "chat_template.jinja", "generation_config.json"})
    EXPECT_EQ(before.at(file), after.at(file)) << file;
}

TEST(Job, WritesTheConfigurationThatReadersResolve) {
  const TestDirectory directory;
  quantize(job_spec(pocket(), directory / "out"));
  const Json config = Json::parse_file(directory / "out/config.json");
  const Json& quantization = config.at("quantization_config");
  EXPECT_EQ(quantization, Json::parse_file(directory / "out/quantization_config.json"));
  EXPECT_EQ(quantization.at("quant_method").as_string(), "auto-round");
  EXPECT_EQ(quantization.at("packing_format").as_string(), "auto_round:auto_gptq");
  EXPECT_EQ(quantization.at("block_name_to_quantize").as_string(), "model.language_model.layers");
  EXPECT_EQ(quantization.at("bits").as_int(), 4);
  EXPECT_TRUE(quantization.at("sym").as_bool());
  EXPECT_NE(quantization.at("dynamic").find("-:.*mtp.*"), nullptr);
  const Json kept = Json::parse(R"({"bits": 16, "data_type": "fp"})");
  const Json& extra = quantization.at("extra_config");
  const std::string layer = "model.language_model.layers.0.";
  for (const char* name :
       {"linear_attn.in_proj_a", "linear_attn.in_proj_b", "linear_attn.in_proj_ba",
        "mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj",
        "mlp.shared_expert.gate_up_proj", "mlp.shared_expert_gate", "mlp.gate"}) {
    ASSERT_NE(extra.find(layer + name), nullptr) << name;
    EXPECT_EQ(*extra.find(layer + name), kept) << name;
  }
  EXPECT_NE(extra.find(".*mtp.*"), nullptr);
  EXPECT_EQ(extra.as_object().size(), 3u * 9 + 6 + 1) << "and nothing else";
  EXPECT_EQ(config.at("text_config"), Json::parse_file(pocket() / "config.json").at("text_config"));
}

TEST(Job, WritesTheSameBytesWithAnyNumberOfThreads) {
  const TestDirectory directory;
  JobSpec spec = job_spec(pocket(), directory / "one");
  spec.threads = {1};
  quantize(spec);
  spec.output = directory / "three";
  spec.threads = {3};
  quantize(spec);
  EXPECT_EQ(hashes_of(directory / "one"), hashes_of(directory / "three"));
}

TEST(Job, SplitsShardsAtTheGivenSize) {
  const TestDirectory directory;
  JobSpec spec = job_spec(pocket(), directory / "out");
  spec.max_shard_bytes = 1 << 20;
  EXPECT_EQ(quantize(spec).rule_errors(), 0);
  EXPECT_GT(Checkpoint::open(directory / "out").files().size(), 5u);
}

TEST(Job, QuantizesTheMtpLayerOnRequest) {
  const TestDirectory directory;
  JobSpec spec = job_spec(pocket(), directory / "out");
  spec.policy.rules = {{PolicyRule::Action::quantize, "mtp.layers"}};
  EXPECT_THROW(plan_job(spec), Error);  // rounding to nearest has to be asked for
  spec.mtp_rtn = true;
  const Report report = quantize(spec);
  EXPECT_EQ(report.rule_errors(), 0);
  EXPECT_EQ(report.mtp_linears_quantized, 8 * 3 + 4 + 3);
  const Json config = Json::parse_file(directory / "out/quantization_config.json");
  EXPECT_EQ(config.at("block_name_to_quantize"),
            Json::parse(R"(["model.language_model.layers", "mtp.layers"])"));
  EXPECT_EQ(config.find("dynamic"), nullptr);
  EXPECT_EQ(config.at("extra_config").find(".*mtp.*"), nullptr);
  EXPECT_NE(config.at("extra_config").find("mtp.layers.0.mlp.gate"), nullptr);
  EXPECT_NE(config.at("extra_config").find("mtp.fc"), nullptr);
  const Checkpoint out = Checkpoint::open(directory / "out");
  EXPECT_NE(out.find("mtp.layers.0.mlp.experts.7.down_proj.qweight"), nullptr);
}

TEST(Job, WritesKeptExpertsOfTextBlocksOneByOne) {
  const TestDirectory directory;
  JobSpec spec = job_spec(pocket(), directory / "out");
  spec.policy.rules = {{PolicyRule::Action::keep, "*.layers.2.mlp.experts"}};
  EXPECT_EQ(quantize(spec).rule_errors(), 0);
  const Checkpoint source = Checkpoint::open(pocket()), out = Checkpoint::open(directory / "out");
  const std::string experts = "model.language_model.layers.2.mlp.experts";
  const TensorView fused = source.view(experts + ".gate_up_proj").slice(5);
  EXPECT_TRUE(same_bytes(fused.rows(128, 256), out.view(experts + ".5.up_proj.weight")));
  const Json config = Json::parse_file(directory / "out/quantization_config.json");
  EXPECT_NE(config.at("extra_config").find(experts), nullptr) << "engines know experts as one";
  EXPECT_EQ(config.at("extra_config").find(experts + ".5.up_proj"), nullptr);
}

TEST(Job, WritesNothingButTheReportAndFilesOfTheCheckpoint) {
  const TestDirectory directory;
  fs::create_directory(directory / "out");
  quantize(job_spec(pocket(), directory / "out"));
  for (const auto& entry : fs::directory_iterator(directory / "out"))
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr("partial")));
}

// --- Refusals

TEST(Job, RefusesAnOutputDirectoryThatIsNotEmpty) {
  const TestDirectory directory;
  directory.write("out/notes.txt", "mine");
  const Error error = error_of([&] { plan_job(job_spec(pocket(), directory / "out")); });
  EXPECT_THAT(error.what(), HasSubstr("not empty"));
  EXPECT_EQ(error.kind(), ErrorKind::input);
  EXPECT_EQ(read_file(directory / "out/notes.txt"), "mine");
}

TEST(Job, RefusesAnOutputThatOverlapsTheSource) {
  const TestDirectory directory;
  const fs::path source = copy_of_pocket(directory);
  for (const fs::path& output : {source / "int4", source, directory.path()}) {
    const Error error = error_of([&] { plan_job(job_spec(source, output)); });
    EXPECT_THAT(error.what(), HasSubstr("overlap")) << output;
  }
}

TEST(Job, RefusesAReadOnlyOutput) {
  const TestDirectory directory;
  // Root may write anywhere but where the kernel forbids it.
  const Error error = error_of([&] { quantize(job_spec(pocket(), "/proc/qround_out")); });
  EXPECT_THAT(error.what(), HasSubstr("/proc/qround_out"));
}

TEST(Job, RefusesASourceThatIsQuantizedAlready) {
  const TestDirectory directory;
  quantize(job_spec(pocket(), directory / "out"));
  const Error error = error_of([&] { plan_job(job_spec(directory / "out", directory / "again")); });
  EXPECT_THAT(error.what(), HasSubstr("quantized already"));
}

TEST(Job, RefusesAnUnknownArchitecture) {
  const TestDirectory directory;
  const fs::path source = copy_of_pocket(directory);
  Json config = Json::parse_file(source / "config.json");
  config.set("architectures", Json::Array{"BertModel"});
  directory.write("source/config.json", config.dump());
  const Error error = error_of([&] { plan_job(job_spec(source, directory / "out")); });
  EXPECT_THAT(error.what(), HasSubstr("BertModel"));
}

TEST(Job, RefusesToKeepEverything) {
  JobSpec spec = job_spec(pocket(), {});
  spec.policy.rules = {{PolicyRule::Action::keep, "*"}};
  EXPECT_THAT(error_of([&] { plan_job(spec); }).what(), HasSubstr("nothing"));
}

TEST(Job, NamesTheWeightThatIsNotANumberAndCleansUp) {
  const TestDirectory directory;
  const fs::path source = copy_of_pocket(directory);
  const std::string name = "model.language_model.layers.1.linear_attn.out_proj.weight";
  overwrite_tensor(source, name, 2 * (3 * 256 + 7), {"\xC0\x7F", 2});  // a BF16 NaN at [3, 7]
  const Error error = error_of([&] { quantize(job_spec(source, directory / "out")); });
  EXPECT_EQ(error.tensor(), name);
  EXPECT_THAT(error.actual(), HasSubstr("[3, 7]"));
  EXPECT_FALSE(fs::exists(directory / "out"));
}

TEST(Job, KeepsAWeightThatIsNotANumberWhenAskedTo) {
  const TestDirectory directory;
  const fs::path source = copy_of_pocket(directory);
  const std::string module = "model.language_model.layers.1.linear_attn.out_proj";
  overwrite_tensor(source, module + ".weight", 0, {"\xC0\x7F", 2});
  JobSpec spec = job_spec(source, directory / "out");
  spec.policy.rules = {{PolicyRule::Action::keep, module}};
  EXPECT_EQ(quantize(spec).rule_errors(), 0);
}

TEST(Job, StopsWhenAskedToAndCleansUp) {
  const TestDirectory directory;
  fs::create_directory(directory / "out");
  const std::atomic<bool> stop = true;
  Progress silent;
  const PlannedJob job = plan_job(job_spec(pocket(), directory / "out"));
  const Error error = error_of([&] { run_job(job, silent, &stop); });
  EXPECT_EQ(error.kind(), ErrorKind::interrupted);
  EXPECT_TRUE(fs::is_empty(directory / "out"));
}

TEST(Job, ShowsThePlanOfADiskThatIsTooSmallAndThenRefuses) {
  PlannedJob job = plan_job(job_spec(pocket(), {}));
  job.plan.disk_free_bytes = 1000;
  EXPECT_EQ(job.plan.disk_shortfall_bytes(), job.plan.disk_needed_bytes - 1000);
  EXPECT_THAT(plan_text(job.plan), HasSubstr("short"));
  Progress silent;
  const Error error = error_of([&] { run_job(job, silent, nullptr); });
  EXPECT_EQ(error.kind(), ErrorKind::resource);
}

// --- Accidents, in a child process

int exit_code_of(const std::function<int()>& child) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(child());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(Job, SurvivesADiskThatRunsFull) {
  const TestDirectory directory;
  const int code = exit_code_of([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};  // no file beyond 1 MiB: writing fails as on a full disk
    ::setrlimit(RLIMIT_FSIZE, &limit);
    JobSpec spec = job_spec(pocket(), directory / "out");
    spec.threads = {1};  // helper threads do not survive a fork
    try {
      quantize(spec);
    } catch (const Error& error) {
      return error.file().find("out") != std::string::npos ? 7 : 8;
    }
    return 0;
  });
  EXPECT_EQ(code, 7);
  EXPECT_FALSE(fs::exists(directory / "out")) << "nothing is left";
}

TEST(Job, LeavesNothingThatLooksFinishedWhenKilled) {
  const TestDirectory directory;
  const fs::path output = directory / "out";
  int n_killed_midway = 0;
  for (int delay_us = 0; delay_us < 60000; delay_us += 3000) {
    fs::remove_all(output);
    const pid_t pid = ::fork();
    if (pid == 0) {
      JobSpec spec = job_spec(pocket(), output);
      spec.threads = {1};
      quantize(spec);
      ::_exit(0);
    }
    while (!fs::exists(output) && ::waitpid(pid, nullptr, WNOHANG) == 0) ::usleep(200);
    ::usleep(static_cast<useconds_t>(delay_us));
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    const bool finished = fs::exists(output / kIndexFileName);
    n_killed_midway += !finished;
    if (!finished) {
      EXPECT_THROW(Checkpoint::open(output), Error);
    }
    EXPECT_TRUE(finished || !fs::exists(output / "report.json"));
  }
  EXPECT_GT(n_killed_midway, 0) << "no kill hit a running job";
  // What is left does not stand in the way of the next run.
  if (!fs::exists(output / kIndexFileName)) {
    EXPECT_EQ(quantize(job_spec(pocket(), output)).rule_errors(), 0);
  }
}

}  // namespace
}  // namespace qround::quant
