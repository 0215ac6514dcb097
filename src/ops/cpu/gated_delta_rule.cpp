// The recurrence, token by token, on blocks of value columns.
//
// Columns of the state do not meet: S[:, j] needs v[j], k and q alone. A block of 32 columns of 128
// rows is 16 KiB, so all tokens run on a block while it lies in the first-level cache (copied
// together, since rows a power of two apart would compete for the same places there), and the state
// is read from memory once and written once whatever the number of tokens. One pass over the block
// applies the update of the token before and reads for the token at hand:
//
//   S <- a_{t-1} S + k_{t-1} d_{t-1}ᵀ;  m = Sᵀ k_t;  o = Sᵀ q_t            (a = exp(log_decay))
//   d_t = beta_t (v_t - a_t m);  out_t = a_t o + (q_t · k_t) d_t
//
// which is four multiply-adds per element and token. At 16 key and 32 value heads of 128 one Zen 4
// core takes 1.35 us per token and head (97 GFLOP/s of at most 117). The chunked form needs more
// arithmetic: its matrix products alone take 1.65 us at 64 tokens, 1.33 at 32 and 1.20 at 16.
#include "ops/gated_delta_rule.h"

#include <algorithm>

#include "base/threads.h"
#include "ops/cpu/delta_rule_head.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/gated_delta_rule.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kBlockVectors = std::min<int64_t>(4, kDeltaRuleBlockColumns / kLanes);
// Fewer tokens do not earn the copy of a block back.
constexpr int64_t kCopyFromTokens = 16;

HWY_ATTR void exponentials(const float* x, int64_t count, float* out) {
  for_each_vector(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(exponential(d, hn::LoadU(d, x + i)), d, out + i);
  });
}

HWY_ATTR float dot(const float* x, const float* y, int64_t count) {
  return sum_of_vectors(count, [&](auto d, int64_t i) HWY_ATTR {
    return hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, y + i));
  });
}

// All tokens on kVectors vectors of columns of one head, from `column` on.
template <int64_t kVectors, class Tag>
HWY_ATTR void run_block(Tag d, const DeltaRuleHead& h, int64_t column, float* HWY_RESTRICT state,
                        int64_t state_stride) {
  using Vector = hn::Vec<Tag>;
  constexpr int64_t kWidth = hn::MaxLanes(Tag());
  const GatedDeltaRuleArgs& args = *h.args;
  Vector change[kVectors];  // d_{t-1}
  for (Vector& of_columns : change) of_columns = hn::Zero(d);
  Vector before = hn::Zero(d);  // a_{t-1}
  const float* HWY_RESTRICT k_before = nullptr;
  for (int64_t t = 0; t < args.tokens; ++t) {
    const float* HWY_RESTRICT k = args.k + t * args.k_stride + h.key_offset;
    const float* HWY_RESTRICT q = args.q + t * args.q_stride + h.key_offset;
    Vector memory[kVectors], output[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) memory[v] = output[v] = hn::Zero(d);
    for (int64_t i = 0; i < args.key_dim; ++i) {
      float* HWY_RESTRICT row = state + i * state_stride;
      for (int64_t v = 0; v < kVectors; ++v) {
        Vector s = hn::LoadU(d, row + v * kWidth);
        if (t > 0) {
          s = hn::MulAdd(hn::Set(d, k_before[i]), change[v], hn::Mul(before, s));
          hn::StoreU(s, d, row + v * kWidth);
        }
        memory[v] = hn::MulAdd(hn::Set(d, k[i]), s, memory[v]);
        output[v] = hn::MulAdd(hn::Set(d, q[i]), s, output[v]);
      }
    }
    const int64_t gate = t * args.value_heads + h.head;
    const Vector a = hn::Set(d, h.decay[gate]), beta = hn::Set(d, args.beta[gate]);
    const Vector overlap = hn::Set(d, dot(q, k, args.key_dim));
    const float* value = args.v + t * args.v_stride + h.head * args.value_dim + column;
    float* out = args.out + gate * args.value_dim + column;
    for (int64_t v = 0; v < kVectors; ++v) {
      change[v] = hn::Mul(beta, hn::NegMulAdd(a, memory[v], hn::LoadU(d, value + v * kWidth)));
      hn::StoreU(hn::MulAdd(overlap, change[v], hn::Mul(a, output[v])), d, out + v * kWidth);
    }
    if (args.change != nullptr) {
      float* kept = args.change + gate * args.value_dim + column;
      for (int64_t v = 0; v < kVectors; ++v) hn::StoreU(change[v], d, kept + v * kWidth);
    }
    before = a;
    k_before = k;
  }
  if (args.change != nullptr) return;  // nobody reads the state of tentative tokens
  for (int64_t i = 0; i < args.key_dim; ++i)
    for (int64_t v = 0; v < kVectors; ++v) {
      float* HWY_RESTRICT at = state + i * state_stride + v * kWidth;
      const Vector s = hn::Mul(before, hn::LoadU(d, at));
      hn::StoreU(hn::MulAdd(hn::Set(d, k_before[i]), change[v], s), d, at);
    }
}

// Takes in the tokens of `before`, with the arithmetic of run_block.
template <int64_t kVectors, class Tag>
HWY_ATTR void apply_updates(Tag d, const DeltaRuleHead& h, int64_t column,
                            float* HWY_RESTRICT state) {
  constexpr int64_t kWidth = hn::MaxLanes(Tag());
  const GatedDeltaRuleArgs& args = *h.args;
  const DeltaRuleUpdates& before = args.before;
  const int64_t k_stride = args.key_heads * args.key_dim;
  for (int64_t i = 0; i < args.key_dim; ++i)
    for (int64_t v = 0; v < kVectors; ++v) {
      float* HWY_RESTRICT at = state + i * args.value_dim + v * kWidth;
      auto s = hn::LoadU(d, at);
      for (int64_t p = 0; p < before.tokens; ++p) {
        const int64_t gate = p * args.value_heads + h.head;
        const auto change =
            hn::LoadU(d, before.change + gate * args.value_dim + column + v * kWidth);
        s = hn::MulAdd(hn::Set(d, before.k[p * k_stride + h.key_offset + i]), change,
                       hn::Mul(hn::Set(d, before.decay[gate]), s));
      }
      hn::StoreU(s, d, at);
    }
}

template <int64_t kVectors, class Tag>
HWY_ATTR void run_columns(Tag d, const DeltaRuleHead& h, int64_t column, float* block) {
  constexpr int64_t kWidth = kVectors * static_cast<int64_t>(hn::MaxLanes(Tag()));
  const int64_t key_dim = h.args->key_dim, value_dim = h.args->value_dim;
  float* state = h.args->state + h.head * key_dim * value_dim + column;
  if (h.args->before.tokens > 0) apply_updates<kVectors>(d, h, column, state);
  if (h.args->tokens == 0) return;
  const bool tentative = h.args->change != nullptr;
  if (h.args->tokens < kCopyFromTokens && !tentative)
    return run_block<kVectors>(d, h, column, state, value_dim);
  for (int64_t i = 0; i < key_dim; ++i)
    std::copy_n(state + i * value_dim, kWidth, block + i * kWidth);
  run_block<kVectors>(d, h, column, block, kWidth);
  if (tentative) return;
  for (int64_t i = 0; i < key_dim; ++i)
    std::copy_n(block + i * kWidth, kWidth, state + i * value_dim);
}

// block [Dk, kDeltaRuleBlockColumns] is scratch.
HWY_ATTR void run_head(const DeltaRuleHead& h, float* block) {
  constexpr int64_t kWidth = kBlockVectors * kLanes;
  int64_t column = 0;
  for (; column + kWidth <= h.args->value_dim; column += kWidth)
    run_columns<kBlockVectors>(F32(), h, column, block);
  for (; column + kLanes <= h.args->value_dim; column += kLanes)
    run_columns<1>(F32(), h, column, block);
  for (; column < h.args->value_dim; ++column) run_columns<1>(OneF32(), h, column, block);
}

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops::cpu {
namespace {
HWY_EXPORT(exponentials);
HWY_EXPORT(run_head);
}  // namespace

void gated_delta_rule(const GatedDeltaRuleArgs& args, const OpContext& context) {
  if (args.tokens == 0 && args.before.tokens == 0) return;
  const int64_t gates = args.tokens * args.value_heads;  // of a sequence
  const int64_t heads_per_key = args.value_heads / args.key_heads;
  const auto block_floats = static_cast<size_t>(args.key_dim * kDeltaRuleBlockColumns);
  Workspace::Scope scope(context.workspace);
  const auto decay = scope.take<float>(static_cast<size_t>(args.sequences * gates));
  const auto blocks = scope.take<float>(block_floats * static_cast<size_t>(context.threads.count));
  HWY_DYNAMIC_DISPATCH(exponentials)(args.log_decay, args.sequences * gates, decay.data());
  if (args.change != nullptr) std::copy(decay.begin(), decay.end(), args.decay);
  const auto kernel = HWY_DYNAMIC_DISPATCH(run_head);
  const int64_t heads_per_task = std::max<int64_t>(1, 4 / std::max<int64_t>(1, args.tokens));
  const int64_t n_tasks = (args.value_heads + heads_per_task - 1) / heads_per_task;
  parallel_for(context.threads, static_cast<size_t>(args.sequences * n_tasks),
               [&](size_t index, int worker) {
                 const int64_t sequence = static_cast<int64_t>(index) / n_tasks;
                 const GatedDeltaRuleArgs of_sequence = sequence_of(args, sequence);
                 float* block = blocks.data() + block_floats * static_cast<size_t>(worker);
                 const int64_t first = static_cast<int64_t>(index) % n_tasks * heads_per_task;
                 for (int64_t head = first;
                      head < std::min(args.value_heads, first + heads_per_task); ++head)
                   kernel({.args = &of_sequence,
                           .decay = decay.data() + sequence * gates,
                           .head = head,
                           .key_offset = head / heads_per_key * args.key_dim},
                          block);
               });
}

}  // namespace qround::ops::cpu
#endif
