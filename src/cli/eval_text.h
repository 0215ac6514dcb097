// What `qround eval` prints for people.
#pragma once

#include "eval/evaluation.h"

namespace qround {

void print_evaluation(const eval::Evaluation& evaluation);
void print_choices(const eval::ChoiceEvaluation& evaluation);

}  // namespace qround
