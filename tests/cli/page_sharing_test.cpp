// Processes that run one model share the pages of its weights: /proc/PID/smaps says so.
#include <cstdlib>
#include <thread>

#include "tests/cli/program.h"

namespace qround {
namespace {

// A conversation that has given one answer and waits for the next question.
class OpenChat {
 public:
  OpenChat(const std::filesystem::path& folder, const std::string& name,
           const std::filesystem::path& model)
      : errors_(folder / (name + ".err")), pid_file_(folder / (name + ".pid")) {
    const std::string command = "echo $$ > " + pid_file_.string() + "; exec " + QROUND_BINARY +
                                " chat " + model.string() + " --greedy -n 8 --threads 1 > " +
                                (folder / name).string() + " 2> " + errors_.string();
    pipe_ = popen(command.c_str(), "w");
    std::fputs("What is 7 plus 5?\n", pipe_);
    std::fflush(pipe_);
  }
  ~OpenChat() { pclose(pipe_); }
  OpenChat(const OpenChat&) = delete;
  OpenChat& operator=(const OpenChat&) = delete;

  bool answered() const {
    for (int tries = 0; tries < 600; ++tries) {
      if (std::filesystem::exists(errors_) &&
          read_file(errors_).find("tokens/s") != std::string::npos)
        return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }
  std::string pid() const {
    std::string pid;
    std::ifstream(pid_file_) >> pid;
    return pid;
  }

 private:
  std::filesystem::path errors_, pid_file_;
  FILE* pipe_ = nullptr;
};

// Kilobytes of a process's mappings of files whose path contains `part`, by kind.
struct Mapped {
  int64_t resident = 0, shared = 0, private_pages = 0;
};

Mapped mapped_files(const std::string& pid, const std::string& part) {
  Mapped sums;
  std::ifstream smaps("/proc/" + pid + "/smaps");
  bool counts = false;
  for (std::string line; std::getline(smaps, line);) {
    const size_t colon = line.find(':');
    const bool is_field = colon != std::string::npos && line.find(' ') > colon;
    if (!is_field) {
      counts = line.find(part) != std::string::npos;
      continue;
    }
    if (!counts) continue;
    const int64_t kilobytes = std::atoll(line.c_str() + colon + 1);
    const std::string field = line.substr(0, colon);
    if (field == "Rss") sums.resident += kilobytes;
    if (field.starts_with("Shared_")) sums.shared += kilobytes;
    if (field.starts_with("Private_")) sums.private_pages += kilobytes;
  }
  return sums;
}

class PageSharing : public ProgramTest {};

TEST_F(PageSharing, TwoProcessesShareThePagesOfOneCheckpoint) {
  const std::filesystem::path model = pocket_copy();  // nobody else has its pages
  const OpenChat first(folder, "first", model), second(folder, "second", model);
  ASSERT_TRUE(first.answered());
  ASSERT_TRUE(second.answered());
  for (const OpenChat* chat : {&first, &second}) {
    const Mapped weights = mapped_files(chat->pid(), model.string());
    EXPECT_GT(weights.resident, 5'000);  // of 14 MB; an answer touches most experts
    EXPECT_LT(weights.private_pages, weights.resident / 10);
    EXPECT_GT(weights.shared, weights.resident * 9 / 10);
    std::printf("process %s: %ld kB of weights resident, %ld kB shared, %ld kB private\n",
                chat->pid().c_str(), static_cast<long>(weights.resident),
                static_cast<long>(weights.shared), static_cast<long>(weights.private_pages));
  }
}

}  // namespace
}  // namespace qround
