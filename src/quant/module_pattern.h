// Patterns that name modules of a network, as --keep and --quantize take them.
#pragma once

#include <string_view>

namespace qround::quant {

// `*` stands for any characters, dots among them, `?` for one. A pattern that matches a module also
// matches everything below it: "model.language_model.layers.3" means the whole layer 3, not 31.
bool matches_module(std::string_view pattern, std::string_view module);

}  // namespace qround::quant
