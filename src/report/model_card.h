// A model card for the Hugging Face hub, from report.json: what was done, what was measured, how to
// load it. Facts that the report lacks are left out, never made up.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace qround::report {

// The first line of every card, by which a later run knows its own work.
inline constexpr std::string_view kCardMark = "<!-- Made by `qround report` from report.json. -->";

// `directory_name` is the checkpoint's; `has_mtp` says whether it holds an MTP head.
std::string model_card(const Json& report, std::string_view directory_name, bool has_mtp);

}  // namespace qround::report
