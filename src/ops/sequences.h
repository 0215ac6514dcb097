// Operations over the sequences of a batch. What a network remembers of each sequence lies in
// memory of its own; one call reads and continues all of them, so that a device has one launch for
// a batch. All that changes from one call to the next (how many tokens a sequence has, where its
// pages are) is read from the backend's memory, so that recorded work can be repeated (graphs.h).
#pragma once

#include <cstdint>

#include "ops/causal_attention.h"
#include "ops/causal_conv1d.h"
#include "ops/gated_delta_rule.h"

namespace qround::ops {

// What Gated DeltaNet layers remember of one sequence. C = 2 Hk Dk + Hv Dv.
struct DeltaNetMemory {
  // [layers] of [Kc - 1, C], the newest inputs of the convolution, oldest first, then
  // [Hv, Dk, Dv], the recurrent state.
  float* state = nullptr;
  // Of tokens that are not part of `state` yet, P at most. [layers] of [P, C] inputs of the
  // convolution, then two sets of [P, Hk, Dk] keys, [P, Hv, Dv] changes, [P, Hv] decays: the set
  // `owed_set` is of accepted tokens, the other one of tentative ones.
  float* rows = nullptr;
  int64_t most_rows = 0;  // P
  int32_t owed = 0;       // accepted tokens that are to become part of `state`
  int32_t owed_set = 0;
};

// One sequence of a batch.
struct SequencePlace {
  int64_t first_row = 0, tokens = 0;  // its rows of the batch
  int64_t context = 0;                // its tokens before them
  float* const* pages = nullptr;      // keys and values, see CausalAttentionArgs::pages
  DeltaNetMemory delta_net;
  bool tentative = false;  // `delta_net.state` stays as it is before the rows
};

struct SequenceBatch {
  const SequencePlace* places = nullptr;  // [sequences], in the backend's memory
  int64_t sequences = 0, rows = 0;
  int64_t most_tokens = 0;   // of a sequence
  int64_t most_context = 0;  // no sequence has more tokens, those of its rows included
  // The first of the sequences, with at most kShortTokens rows each: decode, drafts to verify.
  int64_t short_sequences = 0, short_rows = 0;
};
inline constexpr int64_t kShortTokens = 8;

// Appends keys and values [T, row] of all rows to their sequences' pages.
struct StoreKeysValuesArgs {
  SequenceBatch batch;
  const float *keys = nullptr, *values = nullptr;  // [T, row]
  int64_t row = 0;                                 // Hkv * D
  int64_t key_offset = 0, value_offset = 0;        // floats from a page's beginning
};
using StoreKeysValuesFunction = void(const StoreKeysValuesArgs& args, const OpContext& context);

// CausalAttentionFunction for every sequence, its own rows' keys and values stored.
struct SequenceAttentionArgs {
  SequenceBatch batch;
  const float* q = nullptr;  // [T, Hq, D]
  float* out = nullptr;      // [T, Hq, D]
  int64_t key_offset = 0, value_offset = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1;
};
using SequenceAttentionFunction = void(const SequenceAttentionArgs& args, const OpContext& context);

constexpr CausalAttentionArgs attention_of(const SequenceAttentionArgs& args,
                                           const SequencePlace& place) {
  const int64_t first = place.first_row * args.heads * args.head_dim;
  return {.q = args.q + first,
          .pages = place.pages,
          .key_offset = args.key_offset,
          .value_offset = args.value_offset,
          .out = args.out + first,
          .tokens = place.tokens,
          .context = place.context + place.tokens,
          .heads = args.heads,
          .kv_heads = args.kv_heads,
          .head_dim = args.head_dim,
          .scale = args.scale};
}

struct DeltaNetShape {
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, taps = 0;

  constexpr int64_t key_width() const { return key_heads * key_dim; }
  constexpr int64_t value_width() const { return value_heads * value_dim; }
  constexpr int64_t channels() const { return 2 * key_width() + value_width(); }
  constexpr int64_t history_floats() const { return (taps - 1) * channels(); }
  constexpr int64_t recurrent_floats() const { return value_heads * key_dim * value_dim; }
  // Of a layer in DeltaNetMemory: `state`, one set of P = 1 rows, all of P = 1 rows.
  constexpr int64_t state_floats() const { return history_floats() + recurrent_floats(); }
  constexpr int64_t set_floats() const { return key_width() + value_width() + value_heads; }
  constexpr int64_t row_floats() const { return channels() + 2 * set_floats(); }
};

// Parts of one layer in a DeltaNetMemory.
struct DeltaNetLayer {
  DeltaNetShape shape;
  int64_t layer = 0;

  constexpr float* history(const DeltaNetMemory& memory) const {
    return memory.state + layer * shape.state_floats();
  }
  constexpr float* recurrent(const DeltaNetMemory& memory) const {
    return history(memory) + shape.history_floats();
  }
  constexpr float* inputs(const DeltaNetMemory& memory) const {
    return memory.rows + layer * memory.most_rows * shape.row_floats();
  }
  constexpr float* keys(const DeltaNetMemory& memory, int32_t set) const {
    return inputs(memory) + memory.most_rows * (shape.channels() + set * shape.set_floats());
  }
  constexpr float* change(const DeltaNetMemory& memory, int32_t set) const {
    return keys(memory, set) + memory.most_rows * shape.key_width();
  }
  constexpr float* decay(const DeltaNetMemory& memory, int32_t set) const {
    return change(memory, set) + memory.most_rows * shape.value_width();
  }
};

// CausalConv1dSiluFunction for every sequence. Owed inputs become part of the history first. The
// rows' own inputs do so afterwards, or are kept among the rows of a tentative sequence.
struct SequenceConvolutionArgs {
  SequenceBatch batch;
  DeltaNetLayer layer;
  const float* u = nullptr;       // [T, C]
  const float* weight = nullptr;  // [C, Kc]
  float* out = nullptr;           // [T, C]
};
using SequenceConvolutionFunction = void(const SequenceConvolutionArgs& args,
                                         const OpContext& context);

// GatedDeltaRuleFunction for every sequence. Owed tokens become part of the state first; those of a
// tentative sequence leave it as it is then, and are kept with their keys.
struct SequenceDeltaRuleArgs {
  SequenceBatch batch;
  DeltaNetLayer layer;
  const float* q = nullptr;          // [T, Hk, Dk], normalized and scaled
  const float* k = nullptr;          // [T, Hk, Dk], normalized
  const float* v = nullptr;          // [T, Hv, Dv], rows of v_stride floats
  const float* log_decay = nullptr;  // [T, Hv]
  const float* beta = nullptr;       // [T, Hv]
  float* out = nullptr;              // [T, Hv, Dv]
  int64_t v_stride = 0;
};
using SequenceDeltaRuleFunction = void(const SequenceDeltaRuleArgs& args, const OpContext& context);

constexpr GatedDeltaRuleArgs delta_rule_of(const SequenceDeltaRuleArgs& args,
                                           const SequencePlace& place) {
  const DeltaNetShape& shape = args.layer.shape;
  const DeltaNetMemory& memory = place.delta_net;
  const int64_t first = place.first_row;
  GatedDeltaRuleArgs of_one{.q = args.q + first * shape.key_width(),
                            .k = args.k + first * shape.key_width(),
                            .v = args.v + first * args.v_stride,
                            .log_decay = args.log_decay + first * shape.value_heads,
                            .beta = args.beta + first * shape.value_heads,
                            .state = args.layer.recurrent(memory),
                            .out = args.out + first * shape.value_width(),
                            .tokens = place.tokens,
                            .key_heads = shape.key_heads,
                            .value_heads = shape.value_heads,
                            .key_dim = shape.key_dim,
                            .value_dim = shape.value_dim,
                            .q_stride = shape.key_width(),
                            .k_stride = shape.key_width(),
                            .v_stride = args.v_stride};
  if (memory.owed > 0) {
    of_one.before = {.k = args.layer.keys(memory, memory.owed_set),
                     .change = args.layer.change(memory, memory.owed_set),
                     .decay = args.layer.decay(memory, memory.owed_set),
                     .tokens = memory.owed};
  }
  if (place.tentative) {
    of_one.change = args.layer.change(memory, 1 - memory.owed_set);
    of_one.decay = args.layer.decay(memory, 1 - memory.owed_set);
  }
  return of_one;
}

namespace cuda {
StoreKeysValuesFunction store_keys_values;
SequenceAttentionFunction sequence_attention;
SequenceConvolutionFunction sequence_convolution;
SequenceDeltaRuleFunction sequence_delta_rule;
}  // namespace cuda

}  // namespace qround::ops
