#include "checkpoint/copy_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

void write_source(const TestDirectory& directory) {
  directory.write("in/config.json", "{}");
  directory.write("in/model.safetensors", safetensors_bytes("{}", ""));
}

TEST(CopyFiles, CopiesBytesFoldersAndWhatLinksPointTo) {
  const TestDirectory directory;
  write_source(directory);
  const std::string bytes("\0\xFF\r\n text", 9);
  directory.write("blob", bytes);
  directory.write("in/assets/empty.txt", "");
  fs::create_symlink("../blob", directory / "in/tokenizer.json");
  const auto copied =
      copy_other_files(Checkpoint::open(directory / "in"), directory / "out", {"config.json"});
  EXPECT_THAT(copied, ElementsAre("assets/empty.txt", "tokenizer.json"));
  EXPECT_EQ(read_file(directory / "out/tokenizer.json"), bytes);
  EXPECT_FALSE(fs::is_symlink(directory / "out/tokenizer.json"));
  EXPECT_EQ(fs::file_size(directory / "out/assets/empty.txt"), 0u);
  EXPECT_FALSE(fs::exists(directory / "out/config.json"));
  EXPECT_FALSE(fs::exists(directory / "out/model.safetensors"));
}

TEST(CopyFiles, NamesALinkThatLeadsNowhere) {
  const TestDirectory directory;
  write_source(directory);
  fs::create_symlink("../gone", directory / "in/merges.txt");
  const Checkpoint checkpoint = Checkpoint::open(directory / "in");
  EXPECT_THAT(error_of([&] { copy_other_files(checkpoint, directory / "out", {}); }).file(),
              testing::HasSubstr("merges.txt"));
}

}  // namespace
}  // namespace qround
