#include "base/disk.h"

#include <sys/statvfs.h>

#include <system_error>

#include "base/error.h"

namespace qround {

uint64_t free_disk_bytes(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::path existing = std::filesystem::absolute(path);
  while (!std::filesystem::exists(existing, ignored) && existing != existing.root_path())
    existing = existing.parent_path();
  struct statvfs status{};
  if (::statvfs(existing.c_str(), &status) != 0)
    throw system_error("ask for the free space of a file system", existing);
  return uint64_t{status.f_bavail} * status.f_frsize;
}

}  // namespace qround
