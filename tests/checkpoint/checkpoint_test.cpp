#include "checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// One U8 tensor of four bytes, all `value`.
std::string shard(std::string_view name, char value) {
  return safetensors_bytes(
      "{\"" + std::string(name) + R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
      std::string(4, value));
}

// Two shards with a tensor each, and a side file that only the index names.
void write_good_checkpoint(const TestDirectory& directory) {
  directory.write("config.json", R"({"model_type": "some"})");
  directory.write("model-00001-of-00002.safetensors", shard("a", 1));
  directory.write("model-00002-of-00002.safetensors", shard("b", 2));
  directory.write("model_extra_tensors.safetensors", shard("mtp.c", 3));
  directory.write(
      "model.safetensors.index.json",
      R"({"metadata": {"total_size": 12.0}, "weight_map": {"mtp.c": "model_extra_tensors.safetensors",)"
      R"( "b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors"}})");
}

Error open_error(const TestDirectory& directory) {
  return error_of([&] { Checkpoint::open(directory.path()); });
}

TEST(Checkpoint, IsOneTableOverAllShardsOfTheIndex) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  Checkpoint opened = Checkpoint::open(directory.path());
  const Checkpoint checkpoint = std::move(opened);
  ASSERT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(checkpoint.tensors()[0].name, "a");
  EXPECT_EQ(checkpoint.tensors()[2].name, "mtp.c");
  EXPECT_EQ(checkpoint.find("mtp.c")->file_idx, 2u);
  EXPECT_EQ(checkpoint.view("b").as<uint8_t>()[3], 2);
  EXPECT_EQ(checkpoint.total_bytes(), 12u);
  EXPECT_EQ(checkpoint.config().at("model_type").as_string(), "some");
  EXPECT_TRUE(checkpoint.unindexed_tensors().empty());
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  EXPECT_EQ(error_of([&] { checkpoint.view("c"); }).tensor(), "c");
}

TEST(Checkpoint, OpensASingleFileWithoutAnIndex) {
  const TestDirectory directory;
  directory.write("config.json", "{}");
  directory.write("model.safetensors", shard("a", 7));
  EXPECT_EQ(Checkpoint::open(directory.path()).view("a").as<uint8_t>()[0], 7);
}

TEST(Checkpoint, DoesNotRelyOnTheTotalSizeOfTheIndex) {
  for (const char* metadata : {R"({"total_size": 0})", R"({"total_size": 71903645408.0})",
                               R"({"total_size": "x"})", "{}", "null"}) {
    const TestDirectory directory;
    directory.write("config.json", "{}");
    directory.write("model.safetensors", shard("a", 7));
    directory.write("model.safetensors.index.json",
                    std::string(R"({"metadata": )") + metadata +
                        R"(, "weight_map": {"a": "model.safetensors"}})");
    EXPECT_EQ(Checkpoint::open(directory.path()).total_bytes(), 4u) << metadata;
  }
}

TEST(Checkpoint, RecordsTensorsTheIndexDoesNotMention) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  directory.write("model-00001-of-00002.safetensors",
                  safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                    R"("z":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                    "\1\5"));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  EXPECT_THAT(checkpoint.unindexed_tensors(), ElementsAre("z"));
  EXPECT_EQ(checkpoint.view("z").as<uint8_t>()[0], 5);
}

TEST(Checkpoint, NamesAMissingShard) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  fs::remove(directory / "model-00002-of-00002.safetensors");
  const Error error = open_error(directory);
  EXPECT_EQ(error.message(), "shard is missing");
  EXPECT_THAT(error.file(), HasSubstr("model-00002-of-00002.safetensors"));
  EXPECT_THAT(error.hint(), HasSubstr("download it again"));
}

TEST(Checkpoint, NamesATruncatedShard) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  fs::resize_file(directory / "model-00002-of-00002.safetensors",
                  fs::file_size(directory / "model-00002-of-00002.safetensors") - 1);
  const Error error = open_error(directory);
  EXPECT_EQ(error.message(), "file is truncated");
  EXPECT_EQ(error.tensor(), "b");
  EXPECT_THAT(error.file(), HasSubstr("model-00002-of-00002.safetensors"));
}

TEST(Checkpoint, NamesATensorThatOnlyTheIndexHas) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  directory.write("model-00002-of-00002.safetensors", shard("other", 2));
  const Error error = open_error(directory);
  EXPECT_EQ(error.tensor(), "b");
  EXPECT_THAT(error.message(), HasSubstr("not in the shard that the index names"));
}

TEST(Checkpoint, NamesATensorThatLiesInAnotherShard) {
  const TestDirectory directory;
  directory.write("config.json", "{}");
  directory.write("one.safetensors", shard("a", 1));
  directory.write("two.safetensors", shard("b", 1));
  directory.write(
      "model.safetensors.index.json",
      R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors", "x": "two.safetensors"}})");
  const std::string text = open_error(directory).what();
  EXPECT_THAT(text, HasSubstr("2 problems"));
  EXPECT_THAT(text, HasSubstr("it is in two.safetensors"));
}

TEST(Checkpoint, RefusesATensorInTwoShards) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  directory.write("model_extra_tensors.safetensors",
                  safetensors_bytes(R"({"mtp.c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                    R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                    "12"));
  const Error error = open_error(directory);
  EXPECT_EQ(error.message(), "tensor is in two shards");
  EXPECT_EQ(error.tensor(), "a");
  EXPECT_THAT(error.actual(), HasSubstr("model-00001-of-00002"));
}

TEST(Checkpoint, ReportsAllBrokenShardsAtOnce) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  directory.write("model-00001-of-00002.safetensors", "");
  directory.write("model-00002-of-00002.safetensors",
                  "version https://git-lfs.github.com/spec/v1\n");
  fs::remove(directory / "config.json");
  const std::string text = open_error(directory).what();
  EXPECT_THAT(text, HasSubstr("3 problems"));
  EXPECT_THAT(text, HasSubstr("config.json is missing"));
  EXPECT_THAT(text, HasSubstr("model-00001-of-00002.safetensors: file is too short"));
  EXPECT_THAT(text, HasSubstr("model-00002-of-00002.safetensors: safetensors header is too long"));
}

TEST(Checkpoint, RefusesAnIndexThatLeadsOutOfTheDirectory) {
  for (const char* name : {"../model.safetensors", "/etc/passwd", "x/../../y", ""}) {
    const TestDirectory directory;
    directory.write("config.json", "{}");
    directory.write("model.safetensors.index.json",
                    std::string(R"({"weight_map": {"a": ")") + name + "\"}}");
    EXPECT_THAT(open_error(directory).message(), HasSubstr("outside of its directory")) << name;
  }
}

TEST(Checkpoint, RefusesABrokenIndex) {
  for (const char* index :
       {"", "{", "[]", "{}", R"({"weight_map": 1})", R"({"weight_map": {"a": 1}})",
        R"({"weight_map": {"a": "x", "a": "y"}})"}) {
    const TestDirectory directory;
    directory.write("config.json", "{}");
    directory.write("model.safetensors.index.json", index);
    EXPECT_THAT(open_error(directory).file(), HasSubstr("index.json")) << index;
  }
}

TEST(Checkpoint, SaysWhatADirectoryWithoutACheckpointLacks) {
  const TestDirectory directory;
  directory.write("config.json", "{}");
  EXPECT_THAT(open_error(directory).expected(), HasSubstr("model.safetensors"));
  EXPECT_EQ(error_of([] { Checkpoint::open("/nonexistent"); }).message(), "no such directory");
  fs::remove(directory / "config.json");
  directory.write("model.safetensors", shard("a", 1));
  EXPECT_EQ(open_error(directory).message(), "config.json is missing");
  directory.write("config.json", "[]");
  EXPECT_EQ(open_error(directory).message(), "config.json is no object");
}

TEST(Checkpoint, ReadsACacheOfLinksAndListsTheOtherFiles) {
  const TestDirectory directory;
  directory.write("blobs/1", shard("a", 9));
  directory.write("blobs/2", "{}");
  directory.write("snapshot/sub/notes.txt", "n");
  directory.write("snapshot/.cache/x.json", "n");
  directory.write("snapshot/README.md", "n");
  directory.write("snapshot/original.bin", "n");
  fs::create_symlink("../blobs/1", directory / "snapshot/model.safetensors");
  fs::create_symlink("../blobs/2", directory / "snapshot/config.json");
  fs::create_symlink("../blobs/2", directory / "snapshot/tokenizer.json");
  fs::create_symlink("..", directory / "snapshot/loop");
  const Checkpoint checkpoint = Checkpoint::open(directory / "snapshot");
  EXPECT_EQ(checkpoint.view("a").as<uint8_t>()[0], 9);
  EXPECT_THAT(checkpoint.other_files(),
              ElementsAre("README.md", "config.json", "sub/notes.txt", "tokenizer.json"));
}

TEST(Checkpoint, ListsRelativePathsHoweverTheDirectoryIsWritten) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  directory.write("sub/x.txt", "");
  for (const fs::path& spelling :
       {directory.path() / "", directory.path() / ".", directory / "sub/.."}) {
    EXPECT_THAT(Checkpoint::open(spelling).other_files(), ElementsAre("config.json", "sub/x.txt"))
        << spelling;
  }
}

TEST(Checkpoint, TakesShardsWithoutTheirIndexForNoCheckpoint) {
  const TestDirectory directory;
  write_good_checkpoint(directory);
  fs::remove(directory / "model.safetensors.index.json");
  EXPECT_EQ(open_error(directory).message(), "the directory holds no safetensors checkpoint");
}

TEST(Checkpoint, OpensASparseDirectoryOfManyGigabytesAtOnce) {
  const TestDirectory directory;
  directory.write("config.json", "{}");
  constexpr uint64_t kBytes = uint64_t{40} << 30;
  const std::string header = R"({"a":{"dtype":"BF16","shape":[20,1073741824],"data_offsets":[0,)" +
                             std::to_string(kBytes) + "]}}";
  const fs::path path = directory.write("model.safetensors", safetensors_bytes(header, ""));
  fs::resize_file(path, fs::file_size(path) + kBytes);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Checkpoint::open(directory.path()).total_bytes(), kBytes);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

}  // namespace
}  // namespace qround
