// Sizes on the command line.
#pragma once

#include <cstdint>
#include <string>

namespace qround {

// "512M", "4G", "1.5G", "123": bytes, in powers of 1024. Throws Error.
uint64_t parse_size(const std::string& text);

}  // namespace qround
