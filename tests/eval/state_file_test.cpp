#include "eval/state_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace qround::eval {
namespace {

class StateFile : public testing::Test {
 protected:
  StateFile() : path_(testing::TempDir() + "eval_state_" + std::to_string(getpid())) {}
  ~StateFile() override { std::filesystem::remove(path_); }

  void write_sample() const {
    StateWriter writer(path_, "job");
    writer.put_number(-5);
    writer.put(std::vector<float>{1, 2, 3});
    writer.put(std::vector<double>{});
    writer.finish();
  }

  std::filesystem::path path_;
};

TEST_F(StateFile, GivesBackWhatWasPut) {
  write_sample();
  auto reader = StateReader::open(path_, "job");
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->get_number(), -5);
  std::vector<float> floats;
  reader->get(floats);
  EXPECT_EQ(floats, (std::vector<float>{1, 2, 3}));
  std::vector<double> doubles = {7};
  reader->get(doubles);
  EXPECT_TRUE(doubles.empty());
}

TEST_F(StateFile, AnotherJobsStateIsNotTakenUp) {
  EXPECT_FALSE(StateReader::open(path_, "job"));
  write_sample();
  EXPECT_FALSE(StateReader::open(path_, "another"));
}

TEST_F(StateFile, ADamagedFileIsNoState) {
  write_sample();
  const std::string whole = read_file(path_);
  for (size_t place = 0; place < whole.size(); ++place) {
    std::string damaged = whole;
    damaged[place] = static_cast<char>(damaged[place] ^ 1);
    std::ofstream(path_, std::ios::binary) << damaged;
    EXPECT_FALSE(StateReader::open(path_, "job")) << place;
    std::ofstream(path_, std::ios::binary) << whole.substr(0, place);
    EXPECT_FALSE(StateReader::open(path_, "job")) << place;
  }
}

}  // namespace
}  // namespace qround::eval
