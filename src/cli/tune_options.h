// Options of learned rounding.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "quant/job.h"

namespace CLI {
class App;
}

namespace qround {

struct TuneOptions {
  std::string recipe = "default";
  std::string start;  // --start; empty: the recipe's
  std::string compatible_with;
  std::vector<std::function<void(quant::TuneRecipe&)>> overrides;  // in the order given
  quant::CalibrationOptions calibration;
  bool plain = false;          // --iters 0
  bool optimized_rtn = false;  // --opt-rtn
  bool mtp_rtn = false;        // --mtp-rtn
  std::string products = "auto";

  // Whether rounding is by error feedback alone.
  bool only_feedback() const { return plain && start == "feedback"; }
  // Sets the recipe and the calibration of a job; nothing when rounding is plain.
  void apply(quant::JobSpec& spec) const;
  // Throws Error when data is needed and none is named.
  void require_data() const;
};
void add_tune_options(CLI::App& app, TuneOptions& options);

}  // namespace qround
