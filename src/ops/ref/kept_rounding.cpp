#include "ops/kept_rounding.h"

namespace qround::ops::ref {

void note_loss(const NoteLossArgs& args, const OpContext&) {
  double sum = 0;
  for (int64_t i = 0; i < args.count; ++i) sum += args.losses[i];
  const double loss = sum / static_cast<double>(args.count);
  args.best->is_new = loss < args.best->loss ? 1 : 0;
  if (args.best->is_new == 0) return;
  args.best->loss = loss;
  args.best->iteration = args.iteration;
}

void keep_rounding(const KeepRoundingArgs& args, const OpContext& context) {
  keep_rounding_on_host(args, sign_round, context);
}

}  // namespace qround::ops::ref
