// Takes the files along that hold no weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace qround {

// Copies checkpoint.other_files() byte for byte to `output`, folders included, but not those named
// in `except` (relative paths). Symbolic links are followed: the copy is a file. Each copy is all
// or nothing and durable. Throws Error naming the file. Returns the paths that were copied.
std::vector<std::filesystem::path> copy_other_files(const Checkpoint& checkpoint,
                                                    const std::filesystem::path& output,
                                                    const std::vector<std::string>& except);

}  // namespace qround
