// The table of rules, and the functions it points to.
#pragma once

#include "verify/rule.h"

namespace qround::verify {

// In the order they are checked.
std::span<const Rule> rules();

// config_rules.cpp: what config.json and its companions say.
void check_config_values(const Subject& subject, Findings& findings);
void check_configs_equal(const Subject& subject, Findings& findings);
void check_config_matches_tensors(const Subject& subject, Findings& findings);

// tensor_rules.cpp: headers and index, no tensor data.
void check_index(const Subject& subject, Findings& findings);
void check_index_details(const Subject& subject, Findings& findings);
void check_tensor_set(const Subject& subject, Findings& findings);
void check_dtypes_and_shapes(const Subject& subject, Findings& findings);

// weight_rules.cpp: streams tensor data.
void check_zeros(const Subject& subject, Findings& findings);
void check_scales(const Subject& subject, Findings& findings);
void check_kept_tensors(const Subject& subject, Findings& findings);
void check_rounding(const Subject& subject, Findings& findings);

}  // namespace qround::verify
