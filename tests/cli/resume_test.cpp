// The program killed with SIGKILL at random moments and started again with the same command.
#include <signal.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/cli/program.h"

namespace qround {
namespace {

namespace fs = std::filesystem;

class KilledJob : public ProgramTest {
 protected:
  std::vector<std::string> command(const fs::path& output) const {
    return {QROUND_BINARY,     "quantize",
            pocket().string(), output.string(),
            "--data",          (pocket() / "calibration.jsonl").string(),
            "--iters",         "20",
            "--nsamples",      "16",
            "--seqlen",        "64",
            "--batch-size",    "4",
            "--held-out",      "4",
            "--quiet"};
  }

  pid_t start(const fs::path& output) const {
    const std::vector<std::string> words = command(output);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    return pid;
  }

  // The exit status; -SIGKILL when it was killed after `limit`.
  int run_for(const fs::path& output, std::chrono::milliseconds limit) const {
    const pid_t pid = start(output);
    std::this_thread::sleep_for(limit);
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }
  int run_to_the_end(const fs::path& output) const {
    int status = 0;
    ::waitpid(start(output), &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

  static std::string contents_of(const fs::path& output) {
    std::string all;
    for (const char* name : {"model-00001-of-00001.safetensors", "model.safetensors.index.json",
                             "config.json", "quantization_config.json"})
      all += read_file(output / name);
    return all;
  }

  // Kills the job up to three times at random moments before `latest`; how many times it did. A run
  // that ends first counts for none.
  int kill_at_random(const fs::path& output, std::chrono::milliseconds latest,
                     std::mt19937& random) const {
    std::uniform_int_distribution<int64_t> moment(5, std::max<int64_t>(10, latest.count()));
    for (int kills = 0; kills < 3; ++kills) {
      const int status = run_for(output, std::chrono::milliseconds(moment(random)));
      if (status == 0) return kills;
      EXPECT_EQ(status, -SIGKILL);
    }
    return 3;
  }

  // Every run is killed at least once: one that ended before is begun anew, with earlier moments.
  void kill_and_continue(int n_runs, uint32_t seed) const {
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(run_to_the_end(folder / "undisturbed"), 0);
    const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    const std::string expected = contents_of(folder / "undisturbed");
    std::mt19937 random(seed);
    for (int run = 0; run < n_runs; ++run) {
      const fs::path output = folder / ("run" + std::to_string(run));
      auto latest = whole;
      while (kill_at_random(output, latest, random) == 0) {
        fs::remove_all(output);
        latest /= 2;
      }
      if (!fs::exists(output / "report.json")) {
        ASSERT_EQ(run_to_the_end(output), 0) << "run " << run;
      }
      ASSERT_TRUE(contents_of(output) == expected) << "run " << run << " of seed " << seed;
      EXPECT_FALSE(fs::exists(output / ".partial"));
      fs::remove_all(output);
    }
  }
};

using FullKilledJob = KilledJob;
using SoakKilledJob = KilledJob;

TEST_F(FullKilledJob, EndsWithTheSameBytes) { kill_and_continue(5, 1); }

TEST_F(SoakKilledJob, EndsWithTheSameBytesAHundredTimes) { kill_and_continue(100, 2); }

}  // namespace
}  // namespace qround
