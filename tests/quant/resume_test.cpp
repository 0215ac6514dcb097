// A job that is disturbed and continued ends with the bytes of one that was not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>

#include "base/error.h"
#include "checkpoint/shard_writer.h"
#include "quant/job_journal.h"
#include "tests/quant/job_fixture.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Learned rounding that takes a moment.
JobSpec short_job(const fs::path& output) {
  JobSpec spec = job_spec(pocket(), output);
  TuneRecipe recipe;
  recipe.iterations = 2;
  recipe.samples = 6;
  recipe.length = 32;
  recipe.batch = 2;
  recipe.held_out = 2;
  spec.recipe = recipe;
  spec.calibration.data = (pocket() / "calibration.jsonl").string();
  return spec;
}

// Every file but the report, whose times differ, by name.
std::map<std::string, std::string> files_of(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name != kReportFileName) files.emplace(name, read_file(entry.path()));
  }
  return files;
}

const std::map<std::string, std::string>& undisturbed() {
  static const std::map<std::string, std::string> files = [] {
    const TestDirectory directory;
    quantize(short_job(directory / "undisturbed"));
    return files_of(directory / "undisturbed");
  }();
  return files;
}

// What the report says of losses and errors; times left out.
std::string findings_of(const Report& report) {
  std::string text;
  for (const Json& block : report.tuning.at("blocks").as_array())
    text += block.at("losses").dump() + block.at("expert_tokens").dump();
  for (const ErrorSummary& error : report.errors) text += std::to_string(error.mean);
  return text;
}

Report run_with(const JobSpec& spec, const std::function<void(std::string_view)>& on_line,
                const std::atomic<bool>* stop) {
  Progress progress(ProgressSink{.write = on_line});
  return run_job(plan_job(spec), progress, stop);
}

// Runs until a line with `text` was shown, as Ctrl-C at that moment would.
Error stopped_after(const JobSpec& spec, std::string_view text) {
  std::atomic<bool> stop = false;
  try {
    run_with(
        spec,
        [&](std::string_view line) {
          if (line.find(text) != std::string_view::npos) stop = true;
        },
        &stop);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "it was not stopped";
  return Error("");
}

// The line that ends the writing of short_job: all iterations of all blocks.
constexpr std::string_view kPublished = "quantize: 8 in";

fs::path partial(const fs::path& output) { return output / ShardWriter::kPartialFolder; }

size_t steps_done(const fs::path& output) {
  const auto job = find_unfinished_job(output);
  return job ? job->records.size() : 0;
}

void expect_undisturbed(const fs::path& output) {
  const auto files = files_of(output);
  ASSERT_EQ(files.size(), undisturbed().size());
  for (const auto& [name, contents] : undisturbed()) {
    ASSERT_TRUE(files.contains(name)) << name;
    EXPECT_TRUE(files.at(name) == contents) << name;
  }
}

class Resume : public testing::Test {
 protected:
  // A job stopped after its second block.
  void SetUp() override {
    const Error error = stopped_after(short_job(output_), "layer 1: loss");
    EXPECT_EQ(error.kind(), ErrorKind::interrupted);
    EXPECT_THAT(error.hint(), HasSubstr("the same command continues"));
    EXPECT_GE(steps_done(output_), 2u);
  }

  TestDirectory directory_;
  fs::path output_ = directory_ / "out";
};

TEST_F(Resume, GoesOnAfterTheLastFinishedStep) {
  std::string lines;
  run_with(short_job(output_), [&](std::string_view line) { lines += line; }, nullptr);
  expect_undisturbed(output_);
  EXPECT_THAT(lines, HasSubstr("layer 0: done by an earlier run"));
  EXPECT_THAT(lines, testing::Not(HasSubstr("layer 0: loss")));
  EXPECT_FALSE(fs::exists(partial(output_)));
}

TEST_F(Resume, ReportsTheBlocksOfAllRuns) {
  const Report continued = quantize(short_job(output_));
  EXPECT_EQ(findings_of(continued), findings_of(quantize(short_job(directory_ / "again"))));
}

TEST_F(Resume, TakesAnotherNumberOfThreads) {
  JobSpec spec = short_job(output_);
  spec.threads = {1};
  quantize(spec);
  expect_undisturbed(output_);
}

TEST_F(Resume, DoesAStepAgainWhoseRecordIsTorn) {
  const fs::path journal = partial(output_) / "journal";
  const size_t before = steps_done(output_);
  fs::resize_file(journal, fs::file_size(journal) - 7);
  EXPECT_EQ(steps_done(output_), before - 1);
  quantize(short_job(output_));
  expect_undisturbed(output_);
}

TEST_F(Resume, DoesStepsAgainWhoseTensorsChangedOnTheDisk) {
  const ShardPlan plan = plan_job(short_job({})).shards;
  const PlannedShard& shard = plan.shards.front();
  const auto entry = std::find_if(
      shard.layout.entries.begin(), shard.layout.entries.end(), [](const TensorEntry& candidate) {
        return candidate.name == "model.language_model.layers.1.linear_attn.out_proj.qweight";
      });
  ASSERT_NE(entry, shard.layout.entries.end());
  overwrite(partial(output_) / shard.file_name, entry->begin + 5, "x");
  std::string lines;
  run_with(short_job(output_), [&](std::string_view line) { lines += line; }, nullptr);
  EXPECT_THAT(lines, HasSubstr("layer 1: loss"));
  EXPECT_THAT(lines, testing::Not(HasSubstr("layer 0: loss")));
  expect_undisturbed(output_);
}

TEST_F(Resume, StartsOverWhenTheShardsAreGone) {
  for (const fs::directory_entry& entry : fs::directory_iterator(partial(output_))) {
    if (entry.path().extension() == ".safetensors") fs::remove(entry.path());
  }
  quantize(short_job(output_));
  expect_undisturbed(output_);
}

TEST_F(Resume, WithActivationsOnTheDiskGivesTheSameBytes) {
  JobSpec spec = short_job(output_);
  const Plan plan = plan_job(spec).plan;
  spec.memory_budget_bytes = plan.memory_needed_bytes - 1;
  EXPECT_TRUE(plan_job(spec).plan.activations_on_disk);
  quantize(spec);
  expect_undisturbed(output_);
}

TEST_F(Resume, RefusesOtherOptionsAndNamesThem) {
  JobSpec spec = short_job(output_);
  spec.recipe->iterations = 3;
  try {
    quantize(spec);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.actual(), HasSubstr("recipe.iters: 2 there, 3 here"));
    EXPECT_THAT(error.hint(), HasSubstr("--restart"));
  }
  EXPECT_GE(steps_done(output_), 2u);
}

TEST_F(Resume, RefusesOtherCalibrationText) {
  JobSpec spec = short_job(output_);
  spec.recipe->seed = 7;
  spec.calibration.pack = true;
  try {
    quantize(spec);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.actual(), HasSubstr("calibration_tokens_sha256"));
  }
}

TEST_F(Resume, StartsOverOnRequest) {
  JobSpec spec = short_job(output_);
  spec.restart = true;
  std::string lines;
  run_with(spec, [&](std::string_view line) { lines += line; }, nullptr);
  EXPECT_THAT(lines, HasSubstr("layer 0: loss"));
  expect_undisturbed(output_);
}

TEST_F(Resume, RefusesADamagedJournal) {
  overwrite(partial(output_) / "journal", 40, "#");
  EXPECT_THROW(quantize(short_job(output_)), Error);
  JobSpec spec = short_job(output_);
  spec.restart = true;
  quantize(spec);
  expect_undisturbed(output_);
}

// A run that was killed while it published has shards on both sides, or an index and no report.
TEST_F(Resume, FinishesWhatWasPublishedButNotChecked) {
  stopped_after(short_job(directory_ / "late"), kPublished);
  const fs::path late = directory_ / "late";
  EXPECT_TRUE(fs::exists(late / kIndexFileName));
  EXPECT_TRUE(fs::exists(partial(late) / "journal"));
  const Report report = quantize(short_job(late));
  EXPECT_EQ(report.tuning.at("blocks").as_array().size(), 4u);
  expect_undisturbed(late);
}

TEST_F(Resume, TakesBackAShardThatWasPublishedWithoutAnIndex) {
  stopped_after(short_job(directory_ / "late"), kPublished);
  const fs::path late = directory_ / "late";
  fs::remove(late / kIndexFileName);
  quantize(short_job(late));
  expect_undisturbed(late);
}

TEST(ResumeOfPlainRounding, FinishesWhatWasPublishedButNotChecked) {
  const TestDirectory directory;
  const JobSpec spec = job_spec(pocket(), directory / "out");
  stopped_after(spec, "quantize: 13.8 MB in");
  const Report report = quantize(spec);
  EXPECT_EQ(report.errors.empty(), false);
  quantize(job_spec(pocket(), directory / "undisturbed"));
  EXPECT_EQ(files_of(directory / "out"), files_of(directory / "undisturbed"));
}

}  // namespace
}  // namespace qround::quant
