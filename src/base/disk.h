// Space on the file system that a path lies, or will lie, on.
#pragma once

#include <cstdint>
#include <filesystem>

namespace qround {

// What this user may still write there. `path` need not exist: its nearest existing ancestor
// counts. Throws Error when the file system cannot be asked.
uint64_t free_disk_bytes(const std::filesystem::path& path);

}  // namespace qround
