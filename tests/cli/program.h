// Runs the built program as its user would.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/file.h"

namespace qround {

struct ProgramResult {
  int status = -1;
  std::string out, err;
};

// A folder of one test's own.
class ProgramTest : public testing::Test {
 protected:
  ProgramTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "qround-cli-XXXXXX").string();
    folder = mkdtemp(pattern.data());
  }
  ~ProgramTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  // `arguments` as a shell would split them; `input` on standard input.
  ProgramResult run(const std::string& arguments, const std::string& input = "") const {
    const std::filesystem::path in = folder / ".stdin", out = folder / ".stdout",
                                err = folder / ".stderr";
    write(in, input);
    const std::string command = std::string(QROUND_BINARY) + " " + arguments + " < " + in.string() +
                                " > " + out.string() + " 2> " + err.string();
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err)};
  }

  static void write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }

  static std::filesystem::path pocket() {
    return std::filesystem::path(QROUND_SOURCE_DIR) / "models/pocket";
  }
  // A copy of the pocket model that a test may damage.
  std::filesystem::path pocket_copy() const {
    const std::filesystem::path copy = folder / "pocket";
    std::filesystem::copy(pocket(), copy, std::filesystem::copy_options::recursive);
    return copy;
  }

  std::filesystem::path folder;
};

}  // namespace qround
