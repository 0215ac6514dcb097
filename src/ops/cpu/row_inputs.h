// Rows as the shares of linear maps read them: as they are, and in BF16 pairs where the context has
// that for maps with BF16 weights.
#pragma once

#include <cstdint>
#include <span>

#include "ops/cpu/bf16_pairs.h"
#include "ops/weight.h"
#include "ops/workspace.h"

namespace qround::ops::cpu {

class RowInputs {
 public:
  // Of `rows` [count, width] for several weights, some of which may take pairs, or for one. Pairs
  // are taken from the scope.
  RowInputs(Workspace::Scope& scope, const float* rows, int64_t count, int64_t width,
            const OpContext& context)
      : rows_(rows), width_(width), context_(context) {
    if (context.activations != Activations::f32) make_pairs(scope, count);
  }
  RowInputs(Workspace::Scope& scope, const float* rows, int64_t count, int64_t width,
            const OpContext& context, const Weight& weight)
      : rows_(rows), width_(width), context_(context) {
    if (takes_pairs(weight, context)) make_pairs(scope, count);
  }

  const float* row(int64_t index) const { return rows_ + index * width_; }
  // Null where `weight` takes rows as they are.
  const uint32_t* pairs_of_row(const Weight& weight, int64_t index) const {
    return takes_pairs(weight, context_) ? pairs_.data() + index * pairs(width_) : nullptr;
  }

 private:
  void make_pairs(Workspace::Scope& scope, int64_t count) {
    pairs_ = take_row_pairs(scope, rows_, count, width_, context_.threads);
  }

  const float* rows_;
  std::span<const uint32_t> pairs_;  // [count, pairs(width)], or empty
  int64_t width_;
  const OpContext& context_;
};

}  // namespace qround::ops::cpu
