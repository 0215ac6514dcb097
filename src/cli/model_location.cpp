#include "cli/model_location.h"

#include <fmt/format.h>

#include <cstdlib>

#include "base/error.h"

namespace qround {
namespace fs = std::filesystem;

fs::path pocket_directory() {
  if (const char* given = std::getenv("QROUND_POCKET"); given != nullptr && *given != '\0') {
    if (fs::is_directory(given)) return given;
    throw Error("QROUND_POCKET is not a directory").file(given);
  }
  std::error_code ignored;
  const fs::path installed =
      fs::read_symlink("/proc/self/exe", ignored).parent_path().parent_path() /
      "share/qround/models/pocket";
  const fs::path in_source_tree = fs::path(QROUND_SOURCE_DIR) / "models/pocket";
  for (const fs::path& candidate : {installed, in_source_tree}) {
    if (fs::is_directory(candidate)) return candidate;
  }
  throw Error("the pocket model is not there")
      .expected(fmt::format("{} or {}", installed.string(), in_source_tree.string()))
      .hint("name a model directory, or set QROUND_POCKET");
}

fs::path model_directory(const std::string& given) {
  if (given.empty()) return pocket_directory();
  if (!fs::exists(given)) throw Error("no such directory").file(given);
  if (!fs::is_directory(given))
    throw Error("not a directory").file(given).hint("name the folder that holds config.json");
  return given;
}

}  // namespace qround
