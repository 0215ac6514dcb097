#include "checkpoint/shard_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "checkpoint/checkpoint.h"
#include "checkpoint/partial_shards.h"
#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// Bytes that tell tensors and positions apart.
std::string pattern(const TensorSpec& tensor) {
  std::string bytes(tensor.bytes(), '\0');
  std::iota(bytes.begin(), bytes.end(), static_cast<char>(tensor.name.size() * 7));
  return bytes;
}

TensorView view_of(const TensorSpec& tensor, const std::string& bytes) {
  return {tensor.dtype, tensor.shape, reinterpret_cast<const std::byte*>(bytes.data())};
}

const std::vector<TensorSpec> kTensors = {
    {"odd", DType::u8, {3}},        {"big.weight", DType::bf16, {64, 3}},
    {"f", DType::f32, {5}},         {"half.word", DType::f16, {1}},
    {"words", DType::i32, {16}},    {"empty", DType::f32, {0, 4}},
    {"long.name", DType::i64, {3}}, {"experts.0", DType::bf16, {32}},
    {"scalar", DType::f32, {}},
};

void write_all(ShardWriter& writer) {
  for (const TensorSpec& tensor : kTensors)
    writer.write(tensor.name, view_of(tensor, pattern(tensor)));
}

void expect_all(const fs::path& directory) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  EXPECT_EQ(checkpoint.tensors().size(), kTensors.size());
  EXPECT_TRUE(checkpoint.unindexed_tensors().empty());
  for (const TensorSpec& tensor : kTensors) {
    const TensorView view = checkpoint.view(tensor.name);
    EXPECT_EQ(view.dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(view.shape, tensor.shape) << tensor.name;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(view.data), view.bytes()), pattern(tensor))
        << tensor.name;
  }
}

TEST(SafetensorsLayout, AlignsLargeTensorsTo64BytesAndAllToTheirElements) {
  const SafetensorsLayout layout = lay_out_safetensors(kTensors, {{"format", "pt"}});
  EXPECT_EQ(layout.header.size() % 64, 0u);
  for (const TensorEntry& entry : layout.entries) {
    EXPECT_EQ(entry.begin % (entry.bytes() % 64 == 0 ? 64 : dtype_bytes(entry.dtype)), 0u)
        << entry.name;
  }
  std::string file = layout.header + std::string(layout.file_bytes - layout.header.size(), '\0');
  const SafetensorsHeader parsed = parse_safetensors_header(std::as_bytes(std::span(file)), "x");
  EXPECT_EQ(parsed.metadata.front().second, "pt");
  EXPECT_EQ(parsed.entries.size(), kTensors.size());
  for (const TensorEntry& entry : parsed.entries) {
    EXPECT_NE(std::find(layout.entries.begin(), layout.entries.end(), entry), layout.entries.end())
        << entry.name;
  }
}

TEST(SafetensorsLayout, WritesNamesThatNeedEscaping) {
  const TestDirectory directory;
  const float value = 4;
  const TensorView view{DType::f32, {1}, reinterpret_cast<const std::byte*>(&value)};
  const fs::path path = directory / "x.safetensors";
  write_safetensors(path, {{"a\"b\\c\n\xC3\xA9", view}});
  EXPECT_EQ(SafetensorsFile(path).view("a\"b\\c\n\xC3\xA9").as<float>()[0], 4);
  EXPECT_FALSE(fs::exists(directory / "x.safetensors.partial"));
}

TEST(SafetensorsLayout, RefusesNamesThatStandTwice) {
  const std::vector<TensorSpec> twice = {{"a", DType::u8, {1}}, {"a", DType::u8, {1}}};
  EXPECT_EQ(error_of([&] { lay_out_safetensors(twice, {}); }).tensor(), "a");
  EXPECT_EQ(error_of([&] { plan_shards(twice, {.max_shard_bytes = 1}); }).tensor(), "a");
}

TEST(ShardWriter, ReadsBackWhatItWrote) {
  for (const uint64_t max_shard_bytes :
       {uint64_t{1}, uint64_t{70}, uint64_t{400}, uint64_t{1} << 40}) {
    const TestDirectory directory;
    ShardWriter writer(directory / "out",
                       plan_shards(kTensors, {.max_shard_bytes = max_shard_bytes}));
    write_all(writer);
    directory.write("out/config.json", "{}");
    EXPECT_EQ(writer.written_bytes(), writer.plan().tensor_bytes);
    writer.finish();
    expect_all(directory / "out");
    EXPECT_FALSE(fs::exists(directory / "out/.partial"));
  }
}

TEST(ShardWriter, NamesShardsByTheirNumberAndIndexesThem) {
  const TestDirectory directory;
  ShardWriter writer(directory.path(), plan_shards(kTensors));
  write_all(writer);
  writer.finish();
  const Json index = Json::parse_file(directory / kIndexFileName);
  EXPECT_EQ(index.at("metadata").at("total_size").as_int(), 3 + 384 + 20 + 2 + 64 + 24 + 64 + 4);
  EXPECT_EQ(index.at("weight_map").at("big.weight").as_string(),
            "model-00001-of-00001.safetensors");
  EXPECT_EQ(index.at("weight_map").as_object().begin()->first, "big.weight");
  const SafetensorsFile file(directory / "model-00001-of-00001.safetensors");
  EXPECT_EQ(file.metadata().front(), (std::pair<std::string, std::string>("format", "pt")));
}

TEST(ShardWriter, SplitsAtTheLimitAndGivesALargerTensorItsOwnShard) {
  const ShardPlan plan = plan_shards({{"a", DType::u8, {60}},
                                      {"b", DType::u8, {40}},
                                      {"c", DType::u8, {1}},
                                      {"d", DType::u8, {500}},
                                      {"e", DType::u8, {1}}},
                                     {.max_shard_bytes = 100});
  std::vector<size_t> sizes;
  for (const PlannedShard& shard : plan.shards) sizes.push_back(shard.layout.entries.size());
  EXPECT_THAT(sizes, ElementsAre(2, 1, 1, 1));
  EXPECT_EQ(plan.shards[3].file_name, "model-00004-of-00004.safetensors");
  EXPECT_EQ(plan.tensor_bytes, 602u);
}

TEST(ShardWriter, TakesTensorsInPiecesAndInAnyOrder) {
  const TestDirectory directory;
  ShardWriter writer(directory.path(), plan_shards(kTensors, {.max_shard_bytes = 400}));
  std::vector<std::string> data;
  for (const TensorSpec& tensor : kTensors) data.push_back(pattern(tensor));
  for (size_t piece = 0; piece * 7 < 384; ++piece) {
    for (size_t i = kTensors.size(); i-- > 0;) {
      if (piece * 7 >= data[i].size()) continue;
      const std::string bytes = data[i].substr(piece * 7, 7);
      writer.append(kTensors[i].name, std::as_bytes(std::span(bytes)));
    }
    writer.sync();
  }
  for (const ShardState& state : writer.states()) EXPECT_TRUE(state.finished);
  directory.write("config.json", "{}");
  writer.finish();
  expect_all(directory.path());
}

TEST(ShardWriter, LooksUnfinishedUntilFinish) {
  const TestDirectory directory;
  directory.write("config.json", "{}");
  {
    ShardWriter writer(directory.path(), plan_shards(kTensors));
    write_all(writer);
    EXPECT_TRUE(writer.states()[0].finished);
  }
  EXPECT_EQ(error_of([&] { Checkpoint::open(directory.path()); }).message(),
            "the directory holds no safetensors checkpoint");
  // A second run starts over.
  ShardWriter writer(directory.path(), plan_shards(kTensors, {.max_shard_bytes = 50}));
  write_all(writer);
  writer.finish();
  expect_all(directory.path());
  EXPECT_FALSE(fs::exists(directory / ".partial"));
}

std::string contents_of(const fs::path& directory) {
  std::string all;
  for (const PlannedShard& shard : plan_shards(kTensors, {.max_shard_bytes = 100}).shards)
    all += read_file(directory / shard.file_name);
  return all;
}

// Stopped after every number of tensors, with the next one half written and some shards published.
TEST(ShardWriter, ContinuesWhatAKilledRunLeft) {
  const TestDirectory directory;
  const ShardPlan plan = plan_shards(kTensors, {.max_shard_bytes = 100});
  ShardWriter undisturbed(directory / "undisturbed", plan);
  write_all(undisturbed);
  undisturbed.finish();
  for (size_t n_whole = 0; n_whole < kTensors.size(); ++n_whole) {
    const fs::path output = directory / std::to_string(n_whole);
    {
      ShardWriter killed(output, plan);
      for (size_t i = 0; i < n_whole; ++i)
        killed.write(kTensors[i].name, view_of(kTensors[i], pattern(kTensors[i])));
      killed.append(kTensors[n_whole].name,
                    std::as_bytes(std::span("XYZ", kTensors[n_whole].bytes() / 2 % 3)));
    }
    const std::string first = plan.shards[0].file_name;
    if (fs::exists(output / ".partial" / first))
      fs::rename(output / ".partial" / first, output / first);
    ShardWriter continued(output, plan, ShardWriter::Start::continued);
    const PartialShards left(output, plan);
    for (size_t i = 0; i < kTensors.size(); ++i) {
      const std::string bytes = pattern(kTensors[i]);
      if (i >= n_whole) {
        continued.write(kTensors[i].name, view_of(kTensors[i], bytes));
        continue;
      }
      const auto view = left.find(kTensors[i].name);
      if (!bytes.empty()) {
        ASSERT_TRUE(view) << kTensors[i].name;
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(view->data), view->bytes()), bytes);
      }
      continued.adopt(kTensors[i].name);
    }
    continued.finish();
    EXPECT_EQ(contents_of(output), contents_of(directory / "undisturbed")) << n_whole;
  }
}

TEST(ShardWriter, AfterAKillMissesTensorsThatAreNotAdopted) {
  const TestDirectory directory;
  const ShardPlan plan = plan_shards(kTensors);
  {
    ShardWriter killed(directory.path(), plan);
    write_all(killed);
  }
  ShardWriter continued(directory.path(), plan, ShardWriter::Start::continued);
  EXPECT_EQ(continued.written_bytes(), 0u);
  EXPECT_THROW(continued.finish(), Error);
}

TEST(PartialShards, DoNotHaveWhatAFileIsTooShortFor) {
  const TestDirectory directory;
  const ShardPlan plan = plan_shards(kTensors);
  {
    ShardWriter writer(directory.path(), plan);
    write_all(writer);
  }
  const fs::path file = directory.path() / ".partial" / plan.shards[0].file_name;
  fs::resize_file(file, fs::file_size(file) - 1);
  const PartialShards left(directory.path(), plan);
  const TensorEntry& last = plan.shards[0].layout.entries.back();
  EXPECT_FALSE(left.find(last.name));
  EXPECT_TRUE(left.find(plan.shards[0].layout.entries.front().name));
  EXPECT_FALSE(left.find("never.planned"));
  fs::remove(file);
  EXPECT_FALSE(PartialShards(directory.path(), plan).find(last.name));
}

TEST(ShardWriter, RefusesToFinishWithTensorsMissing) {
  const TestDirectory directory;
  ShardWriter writer(directory.path(), plan_shards(kTensors));
  writer.append("big.weight", std::as_bytes(std::span("xy", 2)));
  const std::string text = error_of([&] { writer.finish(); }).what();
  EXPECT_THAT(text, HasSubstr("8 problems"));
  EXPECT_THAT(text, HasSubstr("big.weight: the planned tensor was not written whole (expected 384 "
                              "bytes, got 2 bytes)"));
  EXPECT_FALSE(fs::exists(directory / kIndexFileName));
}

TEST(ShardWriter, RefusesWhatWasNotPlanned) {
  const TestDirectory directory;
  ShardWriter writer(directory.path(), plan_shards(kTensors));
  const std::string bytes(400, 'x');
  EXPECT_EQ(error_of([&] { writer.append("nobody", std::as_bytes(std::span(bytes))); }).tensor(),
            "nobody");
  EXPECT_THAT(error_of([&] { writer.append("odd", std::as_bytes(std::span(bytes))); }).expected(),
              "3 bytes");
  EXPECT_THAT(error_of([&] { writer.write("odd", {DType::u8, {3, 1}, nullptr}); }).actual(),
              "U8 [3, 1]");
  EXPECT_THAT(error_of([&] { plan_shards({}); }).message(), HasSubstr("without tensors"));
}

TEST(ShardWriter, RefusesADirectoryThatHoldsACheckpoint) {
  const TestDirectory directory;
  directory.write("model.safetensors.index.json", "{}");
  EXPECT_THAT(error_of([&] { ShardWriter(directory.path(), plan_shards(kTensors)); }).message(),
              HasSubstr("holds a checkpoint already"));
}

TEST(ShardWriter, ReportsAnOutputThatCannotBeCreated) {
  const TestDirectory directory;
  directory.write("file", "x");
  const Error error = error_of([&] { ShardWriter(directory / "file/out", plan_shards(kTensors)); });
  EXPECT_EQ(error.kind(), ErrorKind::input);
  EXPECT_THAT(error.file(), HasSubstr("file/out"));
}

TEST(ShardWriter, ReportsAFullDiskAsAResourceError) {
  const TestDirectory directory;
  ShardWriter writer(directory.path(), plan_shards(kTensors));
  fs::create_symlink("/dev/full", directory / ".partial/model-00001-of-00001.safetensors");
  const Error error = error_of([&] { write_all(writer); });
  EXPECT_EQ(error.kind(), ErrorKind::resource);
  EXPECT_THAT(error.file(), HasSubstr("model-00001-of-00001.safetensors"));
  EXPECT_FALSE(fs::exists(directory / kIndexFileName));
}

}  // namespace
}  // namespace qround
