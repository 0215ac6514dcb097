// What a job takes of a device's memory against what was planned.
#include "quant/device_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "base/file.h"
#include "tests/ops/on_backend.h"
#include "tests/quant/job_fixture.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;

JobSpec short_job(const fs::path& output, std::string_view backend) {
  JobSpec spec = job_spec(pocket(), output);
  TuneRecipe recipe;
  recipe.iterations = 2;
  recipe.samples = 3;
  recipe.length = 12;
  recipe.batch = 2;
  recipe.held_out = 1;
  recipe.learning_rate = 0.02;
  recipe.few_tokens = 1;
  spec.recipe = recipe;
  spec.backend = backend;
  spec.calibration.data = (pocket() / "calibration.jsonl").string();
  // One block of each kind, and the head's.
  spec.policy.rules = {{PolicyRule::Action::keep, "*"},
                       {PolicyRule::Action::quantize, "*layers.2.*"},
                       {PolicyRule::Action::quantize, "*layers.3.*experts*"}};
  return spec;
}

// All shards, one after the other.
std::string weights_of(const fs::path& directory) {
  std::set<fs::path> shards;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory))
    if (entry.path().extension() == ".safetensors") shards.insert(entry.path());
  std::string bytes;
  for (const fs::path& shard : shards) bytes += read_file(shard);
  return bytes;
}

class DevicePlans : public testing::Test {
 protected:
  void SetUp() override {
    for (const ops::OpTable* table : ops::fast_backends())
      if (!table->memory->is_host) device_ = table;
    ASSERT_NE(device_, nullptr);
  }
  Plan plan(uint64_t budget) const {
    JobSpec spec = short_job(directory_ / "planned", device_->name);
    spec.gpu_memory_budget_bytes = budget;
    return plan_job(spec).plan;
  }

  const ops::OpTable* device_ = nullptr;
  TestDirectory directory_;
};

using FullDevicePlans = DevicePlans;  // a job in the emulation takes a while

// Within 10 % and never above; and the bytes are the same whatever the placement.
TEST_F(FullDevicePlans, AreKeptAndChangeNoByte) {
  const Plan ample = plan(0);
  EXPECT_TRUE(ample.activations_on_gpu);
  EXPECT_TRUE(ample.next_block_on_gpu);
  const uint64_t smallest = ample.gpu_memory_smallest_bytes;
  std::string first;
  for (const uint64_t budget : {uint64_t{0}, smallest}) {
    const uint64_t free_before = device_->memory->free_bytes();
    JobSpec spec = short_job(directory_ / std::to_string(budget), device_->name);
    spec.gpu_memory_budget_bytes = budget;
    const PlannedJob job = plan_job(spec);
    EXPECT_EQ(job.plan.activations_on_gpu, budget == 0);
    Progress silent;
    const Report report = run_job(job, silent, nullptr);
    const auto planned = static_cast<double>(job.plan.gpu_memory_needed_bytes);
    const auto taken = static_cast<double>(report.peak_gpu_memory_bytes);
    EXPECT_LE(taken, planned);
    EXPECT_GE(taken, 0.9 * planned);
    EXPECT_EQ(device_->memory->free_bytes(), free_before);
    const std::string blocks = report.tuning.at("blocks").dump();
    const std::string bytes = weights_of(spec.output) + blocks.substr(0, blocks.find("seconds"));
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << "other bytes with a budget of " << budget;
  }
}

TEST_F(DevicePlans, RefuseLessThanTheSmallestAndSayHowMuchThatIs) {
  const Plan ample = plan(0);
  const Plan enough = plan(ample.gpu_memory_smallest_bytes);
  EXPECT_FALSE(enough.activations_on_gpu);
  EXPECT_FALSE(enough.next_block_on_gpu);
  EXPECT_EQ(enough.gpu_memory_needed_bytes, ample.gpu_memory_smallest_bytes);
  check_resources(enough);
  const Plan too_little = plan(ample.gpu_memory_smallest_bytes - 1);
  try {
    check_resources(too_little);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    const uint64_t megabytes = (ample.gpu_memory_smallest_bytes + (1 << 20) - 1) / (1 << 20);
    EXPECT_EQ(error.expected(), "--gpu-memory " + std::to_string(megabytes) + "M or more");
  }
}

// The figure follows the batch and the streams as it must.
TEST_F(DevicePlans, GrowWithTheBatchAndTheStreams) {
  const auto needs = [&](int64_t batch, int64_t samples, bool on_device) {
    JobSpec spec = short_job(directory_ / "planned", device_->name);
    spec.recipe->batch = batch;
    spec.recipe->samples = samples;
    const Plan plan = plan_job(spec).plan;
    return on_device ? plan.gpu_memory_needed_bytes : plan.gpu_memory_smallest_bytes;
  };
  EXPECT_LT(needs(2, 10, false), needs(4, 10, false));
  EXPECT_EQ(needs(2, 10, false), needs(2, 30, false));
  const uint64_t hidden = 256, length = 12;
  EXPECT_EQ(needs(2, 30, true) - needs(2, 10, true), 2 * 20 * length * hidden * sizeof(float));
}

}  // namespace
}  // namespace qround::quant
