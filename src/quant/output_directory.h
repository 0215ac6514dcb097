// The directory a job writes to: refused early when it cannot be meant, cleaned up when the job
// fails.
#pragma once

#include <cstdint>
#include <filesystem>

namespace qround::quant {

// Throws Error when `output` is no directory, holds anything but what a killed run left there, or
// lies inside `source` or around it. It may be absent.
void check_output_directory(const std::filesystem::path& source,
                            const std::filesystem::path& output);

// What a killed run left takes on the disk; continuing or replacing it needs no more for these
// bytes.
uint64_t bytes_of_unfinished_job(const std::filesystem::path& output);

// Between construction and keep() the directory's contents are this job's: the destructor removes
// them, and the directory itself where the job created it.
class OutputDirectory {
 public:
  enum class Contents { cleared, kept };  // what a killed run left

  // Checks as above and creates the directory. Throws Error.
  OutputDirectory(const std::filesystem::path& source, const std::filesystem::path& output,
                  Contents contents);
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  void keep() { kept_ = true; }

 private:
  std::filesystem::path path_;
  bool created_ = false;
  bool was_empty_ = false;
  bool kept_ = false;
};

}  // namespace qround::quant
