// `qround quantize --status OUT`: how far an unfinished job is.
#pragma once

#include <filesystem>

namespace qround {

// Prints it. Throws Error when the directory holds neither an unfinished job nor a finished one.
void print_job_status(const std::filesystem::path& output, bool json);

}  // namespace qround
