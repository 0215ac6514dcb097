// A context of 100,000 tokens on two small layers: memory as planned, and a decoded token takes
// longer only by what attention takes over the longer context.
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>

#include "base/memory.h"
#include "engine/scheduler.h"
#include "tests/engine/random_model.h"

namespace qround {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The least of several, since a machine is never quiet.
template <class Work>
double fastest(int times, const Work& work) {
  double best = 1e9;
  for (int i = 0; i < times; ++i) {
    const Clock::time_point begin = Clock::now();
    work();
    best = std::min(best, seconds_since(begin));
  }
  return best;
}

// Seconds of one attention call of the model's shape for one token at `context`.
double attention_seconds(const ModelConfig& config, int64_t context) {
  const AttentionConfig& a = config.attention;
  const auto kv = static_cast<size_t>(context * a.kv_heads * a.head_dim);
  const std::vector<float> keys(kv, 0.1f), values(kv, 0.1f);
  const std::vector<float> q(static_cast<size_t>(a.heads * a.head_dim), 0.1f);
  std::vector<float> out(q.size());
  ops::Workspace workspace;
  return fastest(20, [&] {
    ops::select_host_backend().causal_attention({.q = q.data(),
                                                 .keys = keys.data(),
                                                 .values = values.data(),
                                                 .out = out.data(),
                                                 .tokens = 1,
                                                 .context = context,
                                                 .heads = a.heads,
                                                 .kv_heads = a.kv_heads,
                                                 .head_dim = a.head_dim,
                                                 .scale = 0.1f},
                                                {.threads = {2}, .workspace = workspace});
  });
}

struct Decoded {
  double seconds_per_token = 0;
  uint64_t memory = 0;  // private bytes gained by then
  MemoryPlan plan;
};

Decoded decode_at(const Model& model, int64_t context) {
  const uint64_t before = resident_memory().private_bytes();
  Scheduler scheduler(model, ops::select_host_backend(),
                      {.context = context + 64,
                       .max_sequences = 1,
                       .prefix_cache_share = 0,
                       .drafts = {.automatic = false, .depth = 0},
                       .threads = Threads{2}});
  Request request{.max_tokens = 60};
  for (int64_t i = 0; i < context; ++i)
    request.tokens.push_back(static_cast<int32_t>(random_bits(1, 1, static_cast<uint64_t>(i)) %
                                                  static_cast<uint64_t>(model.config().vocab)));
  scheduler.check(request);
  const auto record = scheduler.record(std::move(request));
  scheduler.add(record);
  while (scheduler.metrics().output_tokens == 0) scheduler.step();
  const double seconds = fastest(40, [&] { scheduler.step(); });
  return {seconds, resident_memory().private_bytes() - before, scheduler.memory_plan()};
}

TEST(FullLongContext, HundredThousandTokensTakeThePlannedMemoryAndOnlyAttentionsTime) {
  constexpr int64_t kLong = 100'000, kShort = 1'000;
  const RandomModelDirectory directory;
  const Model model = make_random_model(
      directory.path(),
      {.attention = {false, true}, .max_positions = 120'000, .heads = 4, .kv_heads = 2}, 4);
  const Decoded at_short = decode_at(model, kShort);
  const Decoded at_long = decode_at(model, kLong);
  const double growth = at_long.seconds_per_token - at_short.seconds_per_token;
  const double attention =
      attention_seconds(model.config(), kLong) - attention_seconds(model.config(), kShort);
  std::cout << at_long.plan.text() << "\nprivate memory gained "
            << static_cast<double>(at_long.memory) / 1e6 << " MB\ndecode per token at " << kShort
            << " tokens " << 1e6 * at_short.seconds_per_token << " us, at " << kLong << " "
            << 1e6 * at_long.seconds_per_token << " us; attention alone grows by "
            << 1e6 * attention << " us\n";
  EXPECT_LT(growth, 1.5 * attention + 200e-6);
  const uint64_t planned = at_long.plan.state_bytes() + at_long.plan.scratch_bytes;
  EXPECT_LT(at_long.memory, planned + (16 << 20));
  // The pages were really used.
  const auto keys_and_values = static_cast<uint64_t>(2 * kLong * model.config().attention.kv_heads *
                                                     model.config().attention.head_dim * 4);
  EXPECT_GT(at_long.memory, keys_and_values / 2);
}

}  // namespace
}  // namespace qround
