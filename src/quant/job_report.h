// What a job says of itself: the parts of report.json that are known before and after its work.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/report.h"
#include "quant/job.h"
#include "verify/verify.h"

namespace qround::quant {

// What, besides the source and the calibration text, decides the bytes of the result.
std::vector<std::pair<std::string, Json>> recipe_members(const JobSpec& spec);

// Everything the plan knows.
Report start_report(const PlannedJob& job);

// Throws Error of kind `check` for the first finding of severity error.
void throw_if_failed(const PlannedJob& job, const verify::Outcome& outcome);

}  // namespace qround::quant
