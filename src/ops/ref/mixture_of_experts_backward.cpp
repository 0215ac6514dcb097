// With c = dout · expert(x): dlogit_e = w_e (c_e - Σ w c). dout · (W_d h) is taken as (W_dᵀ dout) ·
// h, so that no expert's output needs keeping.
#include <algorithm>

#include "ops/gating.h"
#include "ops/linear.h"
#include "ops/mixture_of_experts.h"

namespace qround::ops::ref {
namespace {

float dot(const float* a, const float* b, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Rows of one expert, gathered: everything its gradients are products of.
struct ExpertRows {
  std::span<float> x, d_out;          // [rows, H]
  std::span<float> hidden, d_hidden;  // [rows, I]: silu(gate) * up, times the routing weight
  std::span<float> d_x;               // [rows, H]
};

void consume_gradients(const GroupedExpertsBackwardArgs& args, int64_t expert, int64_t rows,
                       int64_t width, const ExpertRows& r, const float* d_gate, const float* d_up,
                       const OpContext& context) {
  const int64_t hidden = args.hidden;
  const auto consume = [&](ExpertMatrix which, const float* x, int64_t k, const float* dy,
                           int64_t n) {
    const int64_t matrix = expert_matrix(expert, which);
    if (args.wanted != nullptr && args.wanted[matrix] == 0) return;
    const WeightGradientJob job{.matrix = matrix,
                                .x = x,
                                .dy = dy,
                                .rows = rows,
                                .n = n,
                                .k = k,
                                .x_stride = k,
                                .dy_stride = n};
    weight_gradient_tiles({&job, 1}, *args.sink, context);
  };
  consume(ExpertMatrix::gate, r.x.data(), hidden, d_gate, width);
  consume(ExpertMatrix::up, r.x.data(), hidden, d_up, width);
  consume(ExpertMatrix::down, r.hidden.data(), width, r.d_out.data(), hidden);
}

void expert_backward(const GroupedExpertsBackwardArgs& args, int64_t expert,
                     const OpContext& context) {
  const SwigluWeights& w = args.expert_weights[static_cast<size_t>(expert)];
  const int64_t width = outputs(w.gate), hidden = args.hidden;
  const int64_t first = args.groups->begin[expert];
  const int64_t rows = args.groups->begin[expert + 1] - first;
  if (rows == 0) return;
  const int32_t* choices = args.groups->choices + first;
  Workspace::Scope scope(context.workspace);
  const auto take = [&](int64_t columns) {
    return scope.take<float>(static_cast<size_t>(rows * columns));
  };
  const ExpertRows r{take(hidden), take(hidden), take(width), take(width), take(hidden)};
  float* gate = args.gate + first * width;
  float* up = args.up + first * width;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t token = choices[row] / args.n_chosen;
    std::copy_n(args.x + token * hidden, hidden, r.x.data() + row * hidden);
    std::copy_n(args.d_out + token * hidden, hidden, r.d_out.data() + row * hidden);
  }
  swiglu(gate, up, rows * width, r.hidden.data(), context);
  linear_backward_input(w.down, {r.d_out.data(), r.d_hidden.data(), rows, false}, context);
  for (int64_t row = 0; row < rows; ++row) {
    float* h = r.hidden.data() + row * width;
    float* dh = r.d_hidden.data() + row * width;
    const float weight = args.weights[choices[row]];
    args.d_weights[choices[row]] = dot(dh, h, width);
    for (int64_t i = 0; i < width; ++i) {
      h[i] *= weight;
      dh[i] *= weight;
    }
  }
  swiglu_backward({gate, up, r.d_hidden.data(), gate, up, rows * width}, context);
  linear_backward_input(w.gate, {gate, r.d_x.data(), rows, false}, context);
  linear_backward_input(w.up, {up, r.d_x.data(), rows, true}, context);
  for (int64_t row = 0; row < rows; ++row) {
    float* dx = args.dx + choices[row] / args.n_chosen * hidden;
    for (int64_t i = 0; i < hidden; ++i) dx[i] += r.d_x[static_cast<size_t>(row * hidden + i)];
  }
  if (args.sink != nullptr) consume_gradients(args, expert, rows, width, r, gate, up, context);
}

}  // namespace

void route_backward(const RouteBackwardArgs& args, const OpContext&) {
  std::fill_n(args.d_logits, args.tokens * args.n_experts, 0.0f);
  for (int64_t t = 0; t < args.tokens; ++t) {
    const float* weights = args.weights + t * args.n_chosen;
    const float* d_weights = args.d_weights + t * args.n_chosen;
    const float mean = dot(weights, d_weights, args.n_chosen);
    for (int64_t slot = 0; slot < args.n_chosen; ++slot) {
      const int64_t expert = args.experts[t * args.n_chosen + slot];
      args.d_logits[t * args.n_experts + expert] = weights[slot] * (d_weights[slot] - mean);
    }
  }
}

void grouped_experts(const GroupedExpertsArgs& args, const OpContext& context) {
  std::fill_n(args.out, args.tokens * args.hidden, 0.0f);
  Workspace::Scope scope(context.workspace);
  const auto out = scope.take<float>(static_cast<size_t>(args.hidden));
  for (size_t expert = 0; expert < args.expert_weights.size(); ++expert) {
    const SwigluWeights& w = args.expert_weights[expert];
    const int64_t width = outputs(w.gate);
    Workspace::Scope expert_scope(context.workspace);
    const auto hidden = expert_scope.take<float>(static_cast<size_t>(width));
    for (int64_t row = args.groups->begin[expert]; row < args.groups->begin[expert + 1]; ++row) {
      const int64_t choice = args.groups->choices[row];
      const int64_t token = choice / args.n_chosen;
      const float* x = args.x + token * args.hidden;
      linear(w.gate, x, 1, args.gate + row * width, context);
      linear(w.up, x, 1, args.up + row * width, context);
      swiglu(args.gate + row * width, args.up + row * width, width, hidden.data(), context);
      linear(w.down, hidden.data(), 1, out.data(), context);
      for (int64_t i = 0; i < args.hidden; ++i)
        args.out[token * args.hidden + i] += args.weights[choice] * out[i];
    }
  }
}

void grouped_experts_backward(const GroupedExpertsBackwardArgs& args, const OpContext& context) {
  for (size_t expert = 0; expert < args.expert_weights.size(); ++expert)
    expert_backward(args, static_cast<int64_t>(expert), context);
}

}  // namespace qround::ops::ref
