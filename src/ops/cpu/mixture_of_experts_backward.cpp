// Training of a mixture of experts: tokens sorted by expert, one product per touched expert and
// map.
//
// Experts are taken in waves of at most kWaveFloats / H gathered rows, so that what is gathered
// stays small beside the weights whatever the batch. Inside a wave every step is one parallel loop
// over all its experts' shares; a token's sums run over experts in ascending order, wave after
// wave.
#include <algorithm>
#include <tuple>
#include <vector>

#include "ops/cpu/input_gradient_share.h"
#include "ops/cpu/int4_groups.h"
#include "ops/cpu/linear_share.h"
#include "ops/cpu/row_blocks.h"
#include "ops/cpu/row_inputs.h"
#include "ops/cpu/swiglu_values.h"
#include "ops/mixture_of_experts.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/mixture_of_experts_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

HWY_ATTR void add_scaled(const float* x, float factor, int64_t count, float* sum) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, factor), hn::LoadU(d, x + i), hn::LoadU(d, sum + i)), d,
               sum + i);
  });
}

// One (token, expert) pair. gate and up become their gradients; d_hidden, on entry W_downᵀ dout,
// becomes weight * silu(gate) * up, which the gradient of W_down reads. Returns the gradient of the
// routing weight, dout · expert(x) = d_hidden · hidden.
HWY_ATTR float pair_backward(float weight, int64_t width, float* gate, float* up, float* d_hidden) {
  const auto step = [&](auto d, int64_t i) HWY_ATTR {
    const auto g = hn::LoadU(d, gate + i), u = hn::LoadU(d, up + i),
               dh = hn::LoadU(d, d_hidden + i), w = hn::Set(d, weight);
    const auto s = sigmoid(d, g), activated = hn::Mul(g, s), hidden = hn::Mul(activated, u);
    const auto slope = hn::MulAdd(activated, hn::Sub(hn::Set(d, 1.0f), s), s);
    const auto scaled = hn::Mul(w, dh);
    hn::StoreU(hn::Mul(hn::Mul(scaled, u), slope), d, gate + i);
    hn::StoreU(hn::Mul(scaled, activated), d, up + i);
    hn::StoreU(hn::Mul(w, hidden), d, d_hidden + i);
    return hn::Mul(dh, hidden);
  };
  return sum_of_vectors(width, step);
}

}  // namespace
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {

HWY_EXPORT(add_scaled);
HWY_EXPORT(pair_backward);

constexpr int64_t kWaveFloats = int64_t{1} << 23;  // of one buffer of gathered rows
constexpr int64_t kShareRows = 256;
constexpr int64_t kColumnsAtOnce = 64;

// Experts [begin, end) and the grouped rows [first, last) they have between them.
struct Wave {
  int64_t begin = 0, end = 0, first = 0, last = 0;
  int64_t rows() const { return last - first; }
};

std::vector<Wave> waves_of(const ExpertGroups& groups, size_t n_experts, int64_t hidden) {
  const int64_t most = std::max<int64_t>(1, kWaveFloats / hidden);
  std::vector<Wave> waves;
  Wave wave;
  for (int64_t expert = 0; expert < static_cast<int64_t>(n_experts); ++expert) {
    const int64_t last = groups.begin[expert + 1];
    if (wave.rows() > 0 && last - wave.first > most) {
      waves.push_back(wave);
      wave = {expert, expert, wave.last, wave.last};
    }
    wave.end = expert + 1;
    wave.last = last;
  }
  if (wave.rows() > 0) waves.push_back(wave);
  return waves;
}

int64_t most_rows(const std::vector<Wave>& waves) {
  int64_t most = 0;
  for (const Wave& wave : waves) most = std::max(most, wave.rows());
  return most;
}

// A block of one expert's rows, counted from the wave's first, and a range of columns of one of its
// products.
struct Share {
  int64_t expert = 0, row = 0, rows = 0, begin = 0, end = 0;
};

// Shares of at most `rows_at_once` x `width` of products with `columns` outputs, the experts with
// most tokens first.
std::vector<Share> shares_of(const ExpertGroups& groups, const Wave& wave, int64_t columns,
                             int64_t width, int64_t rows_at_once) {
  std::vector<Share> shares;
  for (int64_t expert = wave.begin; expert < wave.end; ++expert) {
    const int64_t last = groups.begin[expert + 1];
    for (int64_t row = groups.begin[expert]; row < last; row += rows_at_once)
      for (int64_t column = 0; column < columns; column += width)
        shares.push_back({expert, row - wave.first, std::min(rows_at_once, last - row), column,
                          std::min(columns, column + width)});
  }
  std::sort(shares.begin(), shares.end(), [](const Share& a, const Share& b) {
    return std::tuple(b.rows, a.expert, a.row, a.begin) <
           std::tuple(a.rows, b.expert, b.row, b.begin);
  });
  return shares;
}

// share(one of `shares`, that thread's piece of `scratch`).
template <class Body>
void run_shares(const std::vector<Share>& shares, std::span<float> scratch, size_t floats_each,
                Threads threads, const Body& share) {
  parallel_for(threads, shares.size(), [&](size_t index, int worker) {
    share(shares[index], scratch.data() + floats_each * static_cast<size_t>(worker));
  });
}

class WaveRows {
 public:
  WaveRows(const ExpertGroups& groups, const Wave& wave, int64_t hidden, int64_t n_chosen,
           Threads threads)
      : choices_(groups.choices + wave.first),
        rows_(wave.rows()),
        hidden_(hidden),
        n_chosen_(n_chosen),
        threads_(threads) {}

  int32_t choice(int64_t row) const { return choices_[row]; }

  void gather(const float* x, float* rows) const {
    for_row_blocks(threads_, rows_, hidden_, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        std::copy_n(x + choices_[row] / n_chosen_ * hidden_, hidden_, rows + row * hidden_);
    });
  }

  // sums[token] += weights[choice] * row, or just the row without weights. Threads take columns, so
  // a token's rows meet in their order.
  void add_to_tokens(const float* rows, const float* weights, float* sums) const {
    const int64_t n_blocks = (hidden_ + kColumnsAtOnce - 1) / kColumnsAtOnce;
    const auto add = HWY_DYNAMIC_DISPATCH(add_scaled);
    parallel_for(threads_, static_cast<size_t>(n_blocks), [&](size_t block, int) {
      const int64_t begin = static_cast<int64_t>(block) * kColumnsAtOnce;
      const int64_t count = std::min(kColumnsAtOnce, hidden_ - begin);
      for (int64_t row = 0; row < rows_; ++row)
        add(rows + row * hidden_ + begin, weights == nullptr ? 1.0f : weights[choices_[row]], count,
            sums + choices_[row] / n_chosen_ * hidden_ + begin);
    });
  }

 private:
  const int32_t* choices_;
  int64_t rows_, hidden_, n_chosen_;
  Threads threads_;
};

std::span<float> take(Workspace::Scope& scope, int64_t count) {
  return scope.take<float>(static_cast<size_t>(count));
}

void forward_wave(const GroupedExpertsArgs& args, const Wave& wave, std::span<float> rows,
                  std::span<float> hidden, std::span<float> scratch, const OpContext& context) {
  const int64_t width = outputs(args.expert_weights[0].gate);
  const WaveRows of_wave(*args.groups, wave, args.hidden, args.n_chosen, context.threads);
  Workspace::Scope scope(context.workspace);
  const auto run = [&](int64_t columns, const auto& share) {
    run_shares(shares_of(*args.groups, wave, columns, share_width(columns), kShareRows), scratch,
               kShareScratchFloats, context.threads, share);
  };
  // y: the first of the wave's rows of outputs.
  const auto project = [&](const Share& s, const Weight& weight, const RowInputs& x, float* y,
                           float* of_worker) {
    const Weight plain = without_trivial_g_idx(weight);
    linear_share({.weight = &plain,
                  .x = x.row(s.row),
                  .x_pairs = x.pairs_of_row(plain, s.row),
                  .y = y + s.row * outputs(plain),
                  .rows = s.rows,
                  .begin = s.begin,
                  .end = s.end,
                  .y_stride = outputs(plain),
                  .many_rows = true},
                 of_worker);
  };
  float* gate = args.gate + wave.first * width;
  float* up = args.up + wave.first * width;

  of_wave.gather(args.x, rows.data());
  const RowInputs x(scope, rows.data(), wave.rows(), args.hidden, context);
  run(width, [&](const Share& s, float* of_worker) {
    const SwigluWeights& expert = args.expert_weights[static_cast<size_t>(s.expert)];
    project(s, expert.gate, x, gate, of_worker);
    project(s, expert.up, x, up, of_worker);
    for (int64_t row = s.row; row < s.row + s.rows; ++row) {
      const int64_t at = row * width + s.begin;
      swiglu_values(gate + at, up + at, s.end - s.begin, hidden.data() + at);
    }
  });
  const RowInputs inner(scope, hidden.data(), wave.rows(), width, context);
  // The gathered inputs are used up; the outputs take their place.
  run(args.hidden, [&](const Share& s, float* of_worker) {
    project(s, args.expert_weights[static_cast<size_t>(s.expert)].down, inner, rows.data(),
            of_worker);
  });
  of_wave.add_to_tokens(rows.data(), args.weights, args.out);
}

// Gathered rows of one wave.
struct BackwardRows {
  std::span<float> x, d_out, dx;  // [rows, H]
  std::span<float> hidden;        // [rows, I]
  std::span<float> scratch;
};

void wave_weight_gradients(const GroupedExpertsBackwardArgs& args, const Wave& wave, int64_t width,
                           const BackwardRows& r, const OpContext& context) {
  std::vector<WeightGradientJob> jobs;
  for (int64_t expert = wave.begin; expert < wave.end; ++expert) {
    const int64_t begin = args.groups->begin[expert];
    const int64_t rows = args.groups->begin[expert + 1] - begin;
    const int64_t row = begin - wave.first;
    if (rows == 0) continue;
    const auto add = [&](ExpertMatrix which, const float* x, int64_t k, const float* dy,
                         int64_t n) {
      const int64_t matrix = expert_matrix(expert, which);
      if (args.wanted != nullptr && args.wanted[matrix] == 0) return;
      jobs.push_back({.matrix = matrix,
                      .x = x,
                      .dy = dy,
                      .rows = rows,
                      .n = n,
                      .k = k,
                      .x_stride = k,
                      .dy_stride = n});
    };
    const float* x = r.x.data() + row * args.hidden;
    add(ExpertMatrix::gate, x, args.hidden, args.gate + begin * width, width);
    add(ExpertMatrix::up, x, args.hidden, args.up + begin * width, width);
    add(ExpertMatrix::down, r.hidden.data() + row * width, width,
        r.d_out.data() + row * args.hidden, args.hidden);
  }
  if (!jobs.empty()) weight_gradient_tiles(jobs, *args.sink, context);
}

void backward_wave(const GroupedExpertsBackwardArgs& args, const Wave& wave, const BackwardRows& r,
                   const OpContext& context) {
  const Threads threads = context.threads;
  const int64_t width = outputs(args.expert_weights[0].gate);
  const WaveRows of_wave(*args.groups, wave, args.hidden, args.n_chosen, threads);
  const auto run = [&](int64_t columns, const auto& share) {
    run_shares(shares_of(*args.groups, wave, columns, kInputShareWidth, kInputShareRows), r.scratch,
               kInputShareScratchFloats, threads, share);
  };
  const auto product = [&](const Share& s, const Weight& weight, const RowInputs& dy, float* dx,
                           bool add_to_dx, float* of_worker) {
    input_gradient_share({.weight = &weight,
                          .dy = dy.row(s.row),
                          .dy_pairs = dy.pairs_of_row(weight, s.row),
                          .dx = dx + s.row * inputs(weight),
                          .rows = s.rows,
                          .begin = s.begin,
                          .end = s.end,
                          .add_to_dx = add_to_dx},
                         of_worker);
  };
  float* gate = args.gate + wave.first * width;
  float* up = args.up + wave.first * width;

  of_wave.gather(args.x, r.x.data());
  of_wave.gather(args.d_out, r.d_out.data());
  Workspace::Scope scope(context.workspace);
  const RowInputs d_out(scope, r.d_out.data(), wave.rows(), args.hidden, context);
  run(width, [&](const Share& s, float* of_worker) {
    product(s, args.expert_weights[static_cast<size_t>(s.expert)].down, d_out, r.hidden.data(),
            false, of_worker);
  });
  const auto pair = HWY_DYNAMIC_DISPATCH(pair_backward);
  for_row_blocks(threads, wave.rows(), width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int32_t choice = of_wave.choice(row);
      args.d_weights[choice] = pair(args.weights[choice], width, gate + row * width,
                                    up + row * width, r.hidden.data() + row * width);
    }
  });
  const RowInputs d_gate(scope, gate, wave.rows(), width, context);
  const RowInputs d_up(scope, up, wave.rows(), width, context);
  run(args.hidden, [&](const Share& s, float* of_worker) {
    const SwigluWeights& expert = args.expert_weights[static_cast<size_t>(s.expert)];
    product(s, expert.gate, d_gate, r.dx.data(), false, of_worker);
    product(s, expert.up, d_up, r.dx.data(), true, of_worker);
  });
  of_wave.add_to_tokens(r.dx.data(), nullptr, args.dx);
  if (args.sink != nullptr) wave_weight_gradients(args, wave, width, r, context);
}

}  // namespace

void route_backward(const RouteBackwardArgs& args, const OpContext& context) {
  for_row_blocks(context.threads, args.tokens, args.n_experts, [&](int64_t begin, int64_t end) {
    RouteBackwardArgs part = args;
    part.experts += begin * args.n_chosen;
    part.weights += begin * args.n_chosen;
    part.d_weights += begin * args.n_chosen;
    part.d_logits += begin * args.n_experts;
    part.tokens = end - begin;
    ref::route_backward(part, context);
  });
}

void grouped_experts(const GroupedExpertsArgs& args, const OpContext& context) {
  const std::vector<Wave> waves = waves_of(*args.groups, args.expert_weights.size(), args.hidden);
  const int64_t rows = most_rows(waves), width = outputs(args.expert_weights[0].gate);
  for_row_blocks(context.threads, args.tokens, args.hidden, [&](int64_t begin, int64_t end) {
    std::fill(args.out + begin * args.hidden, args.out + end * args.hidden, 0.0f);
  });
  Workspace::Scope scope(context.workspace);
  const auto gathered = take(scope, rows * args.hidden);
  const auto hidden = take(scope, rows * width);
  const auto scratch =
      scope.take<float>(kShareScratchFloats * static_cast<size_t>(context.threads.count));
  for (const Wave& wave : waves) forward_wave(args, wave, gathered, hidden, scratch, context);
}

void grouped_experts_backward(const GroupedExpertsBackwardArgs& args, const OpContext& context) {
  const std::vector<Wave> waves = waves_of(*args.groups, args.expert_weights.size(), args.hidden);
  const int64_t rows = most_rows(waves), width = outputs(args.expert_weights[0].gate);
  Workspace::Scope scope(context.workspace);
  const BackwardRows gathered{
      .x = take(scope, rows * args.hidden),
      .d_out = take(scope, rows * args.hidden),
      .dx = take(scope, rows * args.hidden),
      .hidden = take(scope, rows * width),
      .scratch =
          scope.take<float>(kInputShareScratchFloats * static_cast<size_t>(context.threads.count))};
  for (const Wave& wave : waves) backward_wave(args, wave, gathered, context);
}

}  // namespace qround::ops::cpu
#endif
