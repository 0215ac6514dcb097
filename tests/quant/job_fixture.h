// Quantizes the pocket model into a temporary directory.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/progress.h"
#include "quant/job.h"
#include "tests/checkpoint/test_directory.h"

namespace qround::quant {

inline std::filesystem::path pocket() {
  return std::filesystem::path(QROUND_SOURCE_DIR) / "models/pocket";
}

inline JobSpec job_spec(const std::filesystem::path& source, const std::filesystem::path& output) {
  return {.source = source, .output = output, .threads = {2}, .tool_version = "test"};
}

inline Report quantize(const JobSpec& spec) {
  Progress silent;
  return run_job(plan_job(spec), silent, nullptr);
}

// A copy of the pocket model that a test may damage.
inline std::filesystem::path copy_of_pocket(const TestDirectory& directory) {
  const std::filesystem::path copy = directory / "source";
  std::filesystem::copy(pocket(), copy, std::filesystem::copy_options::recursive);
  return copy;
}

// Writes bytes over a file.
inline void overwrite(const std::filesystem::path& path, uint64_t offset, std::string_view bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good()) << path;
}

// Writes bytes over tensor data, `offset` bytes from the tensor's start.
inline void overwrite_tensor(const std::filesystem::path& directory, const std::string& name,
                             uint64_t offset, std::string_view bytes) {
  std::filesystem::path file;
  uint64_t begin = 0;
  {
    const Checkpoint checkpoint = Checkpoint::open(directory);
    const TensorEntry& entry = checkpoint.at(name);
    file = checkpoint.files()[entry.file_idx].path();
    begin = entry.begin;
  }
  overwrite(file, begin + offset, bytes);
}

}  // namespace qround::quant
