#include "stream/journal.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

namespace fs = std::filesystem;

Json record(int64_t number) { return Json::object({{"step", number}, {"text", "a\nb"}}); }

fs::path journal_of(const TestDirectory& directory, int64_t n_records) {
  const fs::path path = directory / "journal";
  Journal journal = Journal::create(path, record(0));
  for (int64_t i = 1; i < n_records; ++i) journal.append(record(i));
  return path;
}

TEST(Journal, GivesBackItsRecordsInOrder) {
  const TestDirectory directory;
  const auto records = Journal::read(journal_of(directory, 3));
  ASSERT_TRUE(records);
  ASSERT_EQ(records->size(), 3u);
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_EQ((*records)[static_cast<size_t>(i)].dump(), record(i).dump());
}

TEST(Journal, IsAbsentWithoutAFile) {
  const TestDirectory directory;
  EXPECT_FALSE(Journal::read(directory / "journal"));
}

// Cut at every byte of the last record, the journal has all records before it.
TEST(Journal, DropsATornLastRecordWhereverItWasTorn) {
  const TestDirectory directory;
  const fs::path path = journal_of(directory, 3);
  const std::string whole = read_file(path);
  const size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (size_t size = last; size < whole.size(); ++size) {
    write_file_atomically(path, whole.substr(0, size));
    const auto records = Journal::read(path);
    ASSERT_TRUE(records);
    EXPECT_EQ(records->size(), 2u) << size;
  }
}

TEST(Journal, WithATornHeaderIsNone) {
  const TestDirectory directory;
  const fs::path path = journal_of(directory, 1);
  const std::string whole = read_file(path);
  write_file_atomically(path, whole.substr(0, whole.size() - 1));
  EXPECT_FALSE(Journal::read(path));
}

TEST(Journal, RefusesADamagedRecordBeforeTheLast) {
  const TestDirectory directory;
  const fs::path path = journal_of(directory, 3);
  std::string damaged = read_file(path);
  damaged[damaged.find('\n') + 12] ^= 1;
  write_file_atomically(path, damaged);
  try {
    (void)Journal::read(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.file(), path.string());
    EXPECT_EQ(error.actual(), "line 2 does not have its checksum");
  }
}

TEST(Journal, IsContinuedAfterATornRecord) {
  const TestDirectory directory;
  const fs::path path = journal_of(directory, 3);
  const std::string whole = read_file(path);
  write_file_atomically(path, whole.substr(0, whole.size() - 5));
  Journal::resume(path, 2).append(record(2));
  EXPECT_EQ(read_file(path), whole);
}

}  // namespace
}  // namespace qround
