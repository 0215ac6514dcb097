#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"

namespace qround {
namespace {
namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() : folder(fs::path(testing::TempDir()) / ("file_test_" + std::to_string(getpid()))) {
    fs::create_directories(folder);
  }
  ~FileTest() override { fs::remove_all(folder); }
  fs::path folder;
};

TEST_F(FileTest, AtomicWriteReplacesTheWholeFileAndLeavesNoOther) {
  write_file_atomically(folder / "a", "first, longer");
  write_file_atomically(folder / "a", "second");
  EXPECT_EQ(read_file(folder / "a"), "second");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);
}

TEST_F(FileTest, OutputFileAppendsAndPatches) {
  OutputFile file(folder / "b");
  file.append("hello world");
  file.write_at(6, std::as_bytes(std::span("WORLD", 5)));
  EXPECT_EQ(file.size(), 11u);
  file.close();
  EXPECT_EQ(read_file(folder / "b"), "hello WORLD");
}

TEST_F(FileTest, EmptyFilesMapToNoBytes) {
  OutputFile(folder / "empty").close();
  EXPECT_EQ(MappedFile(folder / "empty").size(), 0u);
  EXPECT_EQ(read_file(folder / "empty"), "");
}

TEST_F(FileTest, MissingFilesAndFoldersAreNamed) {
  for (const fs::path& path : {folder / "absent", folder}) {
    try {
      read_file(path);
      FAIL() << "no error for " << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.file(), path.string());
      EXPECT_EQ(error.kind(), ErrorKind::input);
    }
  }
}

TEST_F(FileTest, AFullDeviceIsAResourceError) {
  try {
    OutputFile file("/dev/full");
    file.append("x");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_EQ(error.file(), "/dev/full");
  }
}

}  // namespace
}  // namespace qround
