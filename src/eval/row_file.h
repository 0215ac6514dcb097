// Scores of every row as a safetensors file, for comparisons with other programs.
#pragma once

#include <filesystem>

#include "eval/evaluation.h"

namespace qround::eval {

// Per lane: LANE.nll [targets] F64, LANE.divergence [compared rows] F64 (but lane 0), LANE.top
// [compared rows] I32, LANE.draft_hits [windows, 3] I32 with an MTP head; all in order of windows.
void write_rows(const std::filesystem::path& path, const Evaluation& evaluation);

}  // namespace qround::eval
