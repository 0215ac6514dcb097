#include "engine/engine_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "model/int4_copy.h"
#include "model/model.h"
#include "model/sequence_state.h"

namespace qround {
namespace {

constexpr int64_t kUsualContext = 32768;

std::string megabytes(uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

uint64_t floats(int64_t count) { return static_cast<uint64_t>(count) * sizeof(float); }

uint64_t kv_page_bytes(const ModelConfig& config, bool with_mtp) {
  const auto layers =
      std::count(config.mixers.begin(), config.mixers.end(), MixerKind::attention) + with_mtp;
  return floats(2 * layers * kKvPageTokens * config.attention.kv_heads * config.attention.head_dim);
}

// Rows of a pass and what they take at their widest, roughly: hidden states, logits.
uint64_t scratch_bytes(const ModelConfig& config, const EngineOptions& options) {
  const int64_t decode_rows = options.max_sequences * (1 + DraftOptions::kMaxDepth);
  const int64_t rows = options.prefill_chunk + decode_rows;
  const DeltaNetConfig& d = config.delta_net;
  const int64_t mixer_width = std::max(3 * d.conv_channels() + 3 * d.value_width(),
                                       6 * config.attention.heads * config.attention.head_dim);
  int64_t feed_width = 3 * config.dense_width;
  if (config.moe)
    feed_width = config.moe->chosen * (2 * config.hidden + 2 * config.moe->expert_width);
  return floats(rows * (6 * config.hidden + std::max(mixer_width, feed_width)) +
                decode_rows * (config.vocab + config.hidden));
}

// What is left for states: on a device beside weights and scratch, on the host a good part of what
// is free. 0: unknown.
uint64_t room_for_states(const Model& model, const EngineOptions& options, const MemoryPlan& plan) {
  if (model.memory().is_host) return available_memory_bytes() / 2;
  const uint64_t available = model.memory().free_bytes();
  const uint64_t others = plan.scratch_bytes + plan.draft_head_bytes;
  const uint64_t weights = plan.weights_copied_bytes;
  const uint64_t asked = options.device_memory_bytes;
  const uint64_t room =
      asked == 0 ? available : std::min(available, asked - std::min(asked, weights));
  return std::max<uint64_t>(1, room - std::min(room, others));
}

void check_device(const Model& model, const EngineOptions& options, const MemoryPlan& plan) {
  if (model.memory().is_host) return;
  const uint64_t room = room_for_states(model, options, plan);
  if (plan.state_bytes() <= room) return;
  throw Error("weights, states and scratch memory do not fit the device", ErrorKind::resource)
      .expected(fmt::format("{}: {} of weights, {} of states, {} of scratch",
                            megabytes(plan.weights_copied_bytes + plan.state_bytes() +
                                      plan.scratch_bytes + plan.draft_head_bytes),
                            megabytes(plan.weights_copied_bytes), megabytes(plan.state_bytes()),
                            megabytes(plan.scratch_bytes + plan.draft_head_bytes)))
      .actual(fmt::format("{} for states", megabytes(room)))
      .hint("raise --gpu-memory, shorten the context or let fewer sequences run at once");
}

}  // namespace

MemoryPlan plan_memory(const Model& model, const EngineOptions& options) {
  const ModelConfig& config = model.config();
  const bool drafts = model.has_mtp() && options.drafts.depth > 0;
  MemoryPlan plan;
  plan.weights_mapped_bytes = model.checkpoint().total_bytes();
  plan.weights_copied_bytes = model.copied_bytes();
  plan.sequence_bytes = floats(recurrent_floats(config));
  if (drafts) {
    plan.sequence_bytes += floats((DraftOptions::kMaxDepth + 1) * tentative_floats(config));
  }
  plan.sequences = static_cast<uint64_t>(options.max_sequences);
  plan.int8_copy_bytes = model.int8_copy_bytes();
  plan.kv_page_bytes = kv_page_bytes(config, drafts);
  plan.scratch_bytes = scratch_bytes(config, options);
  if (drafts && options.drafts.int4_head)
    plan.draft_head_bytes = Int4Copy::bytes_of(config.vocab, config.hidden);

  const int64_t context = options.context > 0 ? options.context : config.max_positions;
  const auto pages_of = [](int64_t tokens) {
    return static_cast<uint64_t>(pages_for(tokens + 1 + DraftOptions::kMaxDepth));
  };
  const uint64_t pages_per_sequence = pages_of(std::min(context, kUsualContext));
  const uint64_t states = plan.sequences * plan.sequence_bytes;
  uint64_t budget = options.state_budget_bytes;
  if (budget == 0) {
    const uint64_t wanted = states + plan.sequences * pages_per_sequence * plan.kv_page_bytes;
    budget = wanted + wanted / 4;
    if (const uint64_t room = room_for_states(model, options, plan); room > 0)
      budget = std::min(budget, std::max(room, states + pages_per_sequence * plan.kv_page_bytes));
    // A longer context was asked for by name.
    if (options.context > 0) {
      const uint64_t needed = states + pages_of(context) * plan.kv_page_bytes;
      budget = std::max(budget, static_cast<uint64_t>(static_cast<double>(needed) /
                                                      (1 - options.prefix_cache_share)) +
                                    plan.kv_page_bytes);
    }
  }
  plan.prefix_cache_bytes =
      static_cast<uint64_t>(options.prefix_cache_share * static_cast<double>(budget));
  if (states + 2 * plan.kv_page_bytes > budget) {
    throw Error("the state budget is too small", ErrorKind::resource)
        .expected(fmt::format("at least {} for {} sequences",
                              megabytes(states + 2 * plan.kv_page_bytes), plan.sequences))
        .actual(megabytes(budget))
        .hint("raise the budget or let fewer sequences run at once");
  }
  plan.prefix_cache_bytes =
      std::min(plan.prefix_cache_bytes, budget - states - 2 * plan.kv_page_bytes);
  // No more pages than all sequences and as much again for the cache can fill.
  const uint64_t most =
      2 * plan.sequences * static_cast<uint64_t>(pages_for(context + 1 + DraftOptions::kMaxDepth));
  // Without attention layers pages take nothing.
  const uint64_t for_pages = budget - states - plan.prefix_cache_bytes;
  plan.kv_pages = plan.kv_page_bytes == 0 ? most : std::min(most, for_pages / plan.kv_page_bytes);
  check_device(model, options, plan);
  return plan;
}

int64_t MemoryPlan::context_tokens() const {
  return static_cast<int64_t>(kv_pages) * kKvPageTokens - 1 - DraftOptions::kMaxDepth;
}

uint64_t MemoryPlan::state_bytes() const {
  return sequences * sequence_bytes + kv_pages * kv_page_bytes + prefix_cache_bytes;
}

std::string MemoryPlan::text() const {
  return fmt::format(
      "weights     {} mapped from the checkpoint, shared between processes{}\n"
      "states      {}: {} sequences of {}\n"
      "keys/values {}: {} pages of {} tokens, {} each\n"
      "prefixes    at most {} of kept states\n"
      "scratch     about {}{}\n",
      megabytes(weights_mapped_bytes),
      weights_copied_bytes == 0 ? "" : "; " + megabytes(weights_copied_bytes) + " on the device",
      megabytes(sequences * sequence_bytes), sequences, megabytes(sequence_bytes),
      megabytes(kv_pages * kv_page_bytes), kv_pages, kKvPageTokens, megabytes(kv_page_bytes),
      megabytes(prefix_cache_bytes), megabytes(scratch_bytes),
      (draft_head_bytes == 0 ? ""
                             : "\ndraft head  " + megabytes(draft_head_bytes) + " (int4 copy)") +
          (int8_copy_bytes == 0 ? ""
                                : "\nint8 copies " + megabytes(int8_copy_bytes) + " of BF16 maps"));
}

}  // namespace qround
