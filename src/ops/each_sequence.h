// The operations of sequences.h on a host: one sequence after the other through the operation for
// one, which has threads of its own.
#pragma once

#include <algorithm>
#include <span>

#include "ops/sequences.h"

namespace qround::ops {

inline std::span<const SequencePlace> places_of(const SequenceBatch& batch) {
  return {batch.places, static_cast<size_t>(batch.sequences)};
}

inline void store_each(const StoreKeysValuesArgs& args, const OpContext&) {
  for (const SequencePlace& place : places_of(args.batch)) {
    for (int64_t t = 0; t < place.tokens; ++t) {
      const int64_t token = place.context + t, row = place.first_row + t;
      float* to = place.pages[token / kKvPageTokens] + token % kKvPageTokens * args.row;
      std::copy_n(args.keys + row * args.row, args.row, to + args.key_offset);
      std::copy_n(args.values + row * args.row, args.row, to + args.value_offset);
    }
  }
}

template <CausalAttentionFunction* kAttention>
void attend_each(const SequenceAttentionArgs& args, const OpContext& context) {
  for (const SequencePlace& place : places_of(args.batch))
    kAttention(attention_of(args, place), context);
}

// The newest Kc - 1 of the history and the owed inputs become the history.
inline void take_owed_inputs(const DeltaNetLayer& layer, const DeltaNetMemory& memory) {
  const int64_t channels = layer.shape.channels(), rows = layer.shape.taps - 1;
  float* history = layer.history(memory);
  if (memory.owed == 0) return;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t from = row + memory.owed;
    const float* source =
        from < rows ? history + from * channels : layer.inputs(memory) + (from - rows) * channels;
    std::copy_n(source, channels, history + row * channels);
  }
}

template <CausalConv1dSiluFunction* kConvolve>
void convolve_each(const SequenceConvolutionArgs& args, const OpContext& context) {
  const DeltaNetShape& shape = args.layer.shape;
  const int64_t channels = shape.channels();
  for (const SequencePlace& place : places_of(args.batch)) {
    take_owed_inputs(args.layer, place.delta_net);
    if (place.tokens == 0) continue;
    const float* u = args.u + place.first_row * channels;
    float* history = args.layer.history(place.delta_net);
    Workspace::Scope scope(context.workspace);
    if (place.tentative) {
      float* copy = scope.take<float>(static_cast<size_t>(shape.history_floats())).data();
      std::copy_n(history, shape.history_floats(), copy);
      history = copy;
      std::copy_n(u, place.tokens * channels, args.layer.inputs(place.delta_net));
    }
    kConvolve({.u = u,
               .weight = args.weight,
               .history = history,
               .out = args.out + place.first_row * channels,
               .tokens = place.tokens,
               .channels = channels,
               .taps = shape.taps},
              context);
  }
}

template <GatedDeltaRuleFunction* kDeltaRule>
void delta_rule_each(const SequenceDeltaRuleArgs& args, const OpContext& context) {
  for (const SequencePlace& place : places_of(args.batch)) {
    const GatedDeltaRuleArgs of_one = delta_rule_of(args, place);
    if (place.tentative) {
      const DeltaNetMemory& memory = place.delta_net;
      std::copy_n(of_one.k, place.tokens * of_one.k_stride,
                  args.layer.keys(memory, 1 - memory.owed_set));
    }
    kDeltaRule(of_one, context);
  }
}

}  // namespace qround::ops
