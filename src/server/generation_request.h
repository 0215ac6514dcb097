// From a checked request to what the engine is asked.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/request.h"
#include "server/generation_parameters.h"
#include "server/served_model.h"

namespace qround::server {

// The engine's request of one choice. Choices of one answer differ in their seeds. Throws ApiError
// when the prompt leaves no room in the context; `param` names the member that holds it.
Request generation_request(const ServedModel& model, const GenerationParameters& parameters,
                           const std::vector<int32_t>& prompt, std::string_view param);

// The seed of an answer: the given one, or a random one.
uint64_t answer_seed(const GenerationParameters& parameters);

}  // namespace qround::server
