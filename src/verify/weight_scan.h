// One pass over all tensor data, by several threads in the order of the files: what the rules about
// weights need to know. Pages are given back as soon as they are checked, so memory stays small.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "verify/finding.h"
#include "verify/subject.h"

namespace qround::verify {

// Facts about one int4 linear.
struct LinearScan {
  const Parameter* parameter = nullptr;
  std::optional<Finding> zeros, scales, codes;  // what is wrong with each
  int64_t n_scales = 0, n_negative = 0;
  // Sum of squares of scales, and of what is lost when they are rounded to BF16.
  double scale_squares = 0, bf16_loss_squares = 0;
  // With a source.
  std::optional<double> relative_error;  // |W - W'| / |W|
  std::optional<Finding> numerics;       // W' are other weights; says which, if it can
  std::optional<Finding> rounding;       // one is further from its source than rounding
};

struct KeptScan {
  std::optional<Finding> finite;     // not a number, where there is no source to compare with
  std::optional<Finding> identical;  // other bytes than the source's
};

struct WeightScan {
  std::vector<LinearScan> linears;  // int4 ones, in the table's order
  std::vector<KeptScan> kept;       // pieces of the other tensors, in the files' order
  uint64_t bytes = 0;               // of the checkpoint, read
};

// Throws Error of kind `interrupted` alone.
WeightScan scan_weights(const Subject& subject);

// --- The parts of the pass.

// Scans the tensors of one linear; with a source compares them with its weights.
LinearScan scan_linear(const Subject& subject, const Parameter& p);

// Which mistake turns the source's weights into the stored ones: names the one that fits, or says
// that none does. `error`: the relative error as the tensors stand.
Finding explain_numerics(const Subject& subject, const Parameter& p, const Int4Tensors& int4,
                         const TensorView& weight, double error);

// Above this relative error the tensors hold other weights. Rounding to 4 bits costs 2 to 15 %,
// a zero point that is off by one about 35 %, unrelated weights 140 %.
inline constexpr double kOtherWeights = 0.25;

}  // namespace qround::verify
