#include "checkpoint/copy_files.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "base/file.h"

namespace qround {

namespace fs = std::filesystem;

std::vector<fs::path> copy_other_files(const Checkpoint& checkpoint, const fs::path& output,
                                       const std::vector<std::string>& except) {
  std::vector<fs::path> copied;
  for (const fs::path& file : checkpoint.other_files()) {
    if (std::find(except.begin(), except.end(), file.generic_string()) != except.end()) continue;
    const fs::path target = output / file;
    std::error_code code;
    fs::create_directories(target.parent_path(), code);
    if (code) {
      errno = code.value();
      throw system_error("create a directory", target.parent_path());
    }
    write_file_atomically(target, read_file(checkpoint.path() / file));
    copied.push_back(file);
  }
  return copied;
}

}  // namespace qround
