// The scripts of oracle/ as tests: $QROUND_PYTHON names the interpreter that has their packages.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>

namespace qround {

// Skips the test when the script says by status 77 that something is not installed.
inline void run_oracle(const std::string& script) {
  const char* python = std::getenv("QROUND_PYTHON");
  const std::string command = "QROUND=" QROUND_BINARY " " +
                              std::string(python == nullptr ? "python3" : python) +
                              " " QROUND_SOURCE_DIR "/oracle/" + script;
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << script << ": what it needs is not installed";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace qround
