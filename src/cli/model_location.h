// Which directory a command works on.
#pragma once

#include <filesystem>
#include <string>

namespace qround {

// `given`, or the pocket model when it is empty. Throws Error when the directory does not exist.
std::filesystem::path model_directory(const std::string& given);

// The pocket model: $QROUND_POCKET, else share/qround/models/pocket beside the installed program,
// else the source tree's models/pocket. Throws Error naming all three when none exists.
std::filesystem::path pocket_directory();

}  // namespace qround
