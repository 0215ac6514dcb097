// Plans of the full-size network, from headers alone.
#include "quant/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/memory.h"
#include "checkpoint/safetensors_layout.h"
#include "quant/export_plan.h"
#include "quant/job.h"
#include "tests/model/qwen36_config.h"
#include "tests/quant/job_fixture.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// The 35B's tensors as the table names them, experts fused.
std::vector<TensorSpec> fused_tensors(const TensorTable& table) {
  std::vector<TensorSpec> specs;
  std::set<std::string> seen;
  for (const Parameter& p : table.parameters()) {
    if (p.fused_tensor.empty()) specs.push_back({p.tensor, DType::bf16, p.shape});
  }
  for (const FusedTensor& fused : table.fused_tensors())
    specs.push_back({fused.name, DType::bf16, fused.shape});
  return specs;
}

// Headers with nothing behind them: the data are holes of the file.
void write_sparse_checkpoint(const fs::path& directory) {
  const Json config = qwen36_35b_config();
  const TensorTable table = TensorTable::of(parse_model_config(config, "config.json"));
  const ShardPlan plan = plan_shards(fused_tensors(table), {.max_shard_bytes = 2'900'000'000});
  fs::create_directories(directory);
  for (const PlannedShard& shard : plan.shards) {
    write_file_atomically(directory / shard.file_name, shard.layout.header);
    fs::resize_file(directory / shard.file_name, shard.layout.file_bytes);
  }
  Json index = plan.index();
  index.set("metadata", Json::object({{"total_size", static_cast<double>(plan.tensor_bytes)}}));
  write_file_atomically(directory / kIndexFileName, index.dump());
  write_file_atomically(directory / "config.json", config.dump());
}

TEST(Plan, CountsTheFullSizeNetworkFromHeadersAlone) {
  const TestDirectory directory;
  write_sparse_checkpoint(directory / "35b");
  const PlannedJob job = plan_job(job_spec(directory / "35b", {}));
  const Plan& plan = job.plan;
  EXPECT_EQ(plan.linears.quantized, 30850);
  EXPECT_EQ(plan.linears.total, 31181);
  EXPECT_EQ(plan.linears.mtp_total, 777);
  EXPECT_EQ(plan.tensors_before, 1045);
  EXPECT_EQ(plan.bytes_before, 71'903'645'408u);
  EXPECT_EQ(plan.parameters, 35'951'822'704);
  EXPECT_EQ(plan.tensors_after, 1045 - 80 - 130 + 3 * 30850);
  EXPECT_EQ(plan.bytes_after, 22'320'500'448u);
  EXPECT_LT(plan.memory_needed_bytes, uint64_t{400} << 20);
  uint64_t before = 0, after = 0;
  for (const PlanRow& row : plan.rows) {
    before += row.bytes_before;
    after += row.bytes_after;
  }
  EXPECT_EQ(before, plan.bytes_before);
  EXPECT_EQ(after, plan.bytes_after);
  EXPECT_THAT(plan_text(plan), HasSubstr("30850 of 31181 linears"));
  EXPECT_EQ(to_json(plan).at("linears_quantized").as_int(), 30850);
}

TEST(Plan, OrdersStepsAsTheForwardPass) {
  const PlannedJob job = plan_job(job_spec(pocket(), {}));
  std::vector<std::string> labels;
  for (const ExportStep& step : job.exports.steps) labels.push_back(step.label);
  EXPECT_EQ(labels,
            (std::vector<std::string>{"embedding, final norm, head", "layer 0", "layer 1",
                                      "layer 2", "layer 3", "embedding, final norm, head",
                                      "MTP head", "MTP layer 0", "MTP head", "vision tower"}));
}

TEST(Plan, BatchesCoverEveryItemOnceAndInOrder) {
  const PlannedJob job = plan_job(job_spec(pocket(), {}));
  for (const ExportStep& step : job.exports.steps) {
    const ExportItem* next = step.items.data();
    for (const std::span<const ExportItem> batch : batches(step)) {
      ASSERT_EQ(batch.data(), next);
      next += batch.size();
      for (const ExportItem& item : batch)
        EXPECT_TRUE(batch.size() == 1 || item.linear != nullptr) << item.name;
    }
    EXPECT_EQ(next, step.items.data() + step.items.size());
  }
}

TEST(Plan, NamesTensorsThatTheNetworkDoesNotKnow) {
  const TestDirectory directory;
  const fs::path source = copy_of_pocket(directory);
  const std::vector<float> values(16);
  write_safetensors(
      source / "model-00002-of-00002b.safetensors",
      {{"extra.weight", {DType::f32, {16}, std::as_bytes(std::span(values)).data()}}});
  Json index = Json::parse_file(source / kIndexFileName);
  index.as_object().find("weight_map")->set("extra.weight", "model-00002-of-00002b.safetensors");
  write_file_atomically(source / kIndexFileName, index.dump());
  const JobSpec spec = job_spec(source, directory / "out");
  EXPECT_THAT(plan_text(plan_job(spec).plan), HasSubstr("extra.weight"));
  EXPECT_EQ(quantize(spec).rule_errors(), 0);
  EXPECT_NE(Checkpoint::open(directory / "out").find("extra.weight"), nullptr);
}

TEST(Plan, ReportsMissingTensorsTogether) {
  const TestDirectory directory;
  const fs::path source = copy_of_pocket(directory);
  Json config = Json::parse_file(source / "config.json");
  config.as_object().find("text_config")->set("num_hidden_layers", 5);
  Json::Array types = config.at("text_config").at("layer_types").as_array();
  types.emplace_back("linear_attention");
  config.as_object().find("text_config")->set("layer_types", std::move(types));
  write_file_atomically(source / "config.json", config.dump());
  const Error error = error_of([&] { plan_job(job_spec(source, {})); });
  EXPECT_THAT(error.what(), HasSubstr("layers.4.input_layernorm"));
  EXPECT_THAT(error.what(), HasSubstr("layers.4.linear_attn"));
}

TEST(MemoryEstimate, CoversWhatAJobTakes) {
  const TestDirectory directory;
  const JobSpec spec = job_spec(pocket(), directory / "out");
  const PlannedJob job = plan_job(spec);
  [[maybe_unused]] const uint64_t before =
      resident_memory().private_bytes();  // other tests and their heap
  Progress silent;
  const Report report = run_job(job, silent, nullptr);
  EXPECT_GT(report.peak_memory_bytes, 0u);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // these multiply everything
  EXPECT_LT(report.peak_memory_bytes, before + job.plan.memory_needed_bytes);
#endif
}

// Oracle tier: the stand-alone script writes the same headers.
TEST(OraclePlan, ScriptOfTheSparseCheckpointAgreesWithTheTable) {
  const TestDirectory directory;
  const std::string command = std::string("python3 ") + QROUND_SOURCE_DIR +
                              "/oracle/make_sparse_35b.py " + (directory / "35b").string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  const PlannedJob job = plan_job(job_spec(directory / "35b", {}));
  EXPECT_EQ(job.plan.linears.quantized, 30850);
  EXPECT_EQ(job.plan.linears.total, 31181);
  EXPECT_EQ(job.plan.tensors_before, 1045);
  EXPECT_EQ(job.plan.shards_before, 26);
  EXPECT_EQ(job.plan.bytes_before, 71'903'645'408u);
}

}  // namespace
}  // namespace qround::quant
