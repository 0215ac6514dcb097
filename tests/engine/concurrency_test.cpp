// Many requests at once, with random lengths, options, cancellations and shared beginnings: what
// each gives is what it gives alone.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/engine/engine_output.h"
#include "tests/engine/random_model.h"

namespace qround {
namespace {

using Clock = std::chrono::steady_clock;

struct Expected {
  Request request;
  std::vector<int32_t> tokens;
};

// Prompts that begin with parts of a few common texts.
Request random_request(uint64_t seed, int64_t vocab) {
  uint64_t draws = 0;
  const auto draw = [&](uint64_t below) { return random_bits(seed, 9, draws++) % below; };
  const uint64_t text = draw(3);
  Request request;
  const size_t shared = draw(150), own = 1 + draw(60);
  for (size_t i = 0; i < shared; ++i)
    request.tokens.push_back(
        static_cast<int32_t>(random_bits(text, 3, i) % static_cast<uint64_t>(vocab)));
  for (size_t i = 0; i < own; ++i)
    request.tokens.push_back(static_cast<int32_t>(draw(static_cast<uint64_t>(vocab))));
  request.max_tokens = static_cast<int64_t>(1 + draw(50));
  request.sampling.seed = draw(1000);
  if (draw(2) == 0) request.sampling.temperature = 0.8f;
  if (draw(4) == 0) request.sampling.repetition_penalty = 1.2f;
  if (draw(3) == 0)
    request.stop_tokens = {static_cast<int32_t>(draw(static_cast<uint64_t>(vocab)))};
  if (draw(4) == 0) request.mtp_drafts = static_cast<int>(draw(4));
  if (draw(4) == 0) request.top_logprobs = static_cast<int64_t>(draw(4));
  if (shared > 0 && draw(2) == 0) request.borders = {static_cast<int64_t>(shared)};
  return request;
}

std::vector<Expected> expected_outputs(const Model& model, size_t count) {
  Engine alone(model, ops::select_host_backend(),
               {.max_sequences = 1,
                .state_budget_bytes = 16 << 20,
                .prefix_cache_share = 0,
                .drafts = {.automatic = false, .depth = 0},
                .threads = Threads{1}});
  std::vector<Expected> all;
  for (size_t i = 0; i < count; ++i) {
    Request request = random_request(i, model.config().vocab);
    all.push_back({request, output_of(alone, request).tokens});
  }
  return all;
}

// Keeps `sessions` requests going from four threads until `rounds` are done or time is up.
void run_sessions(const Model& model, const std::vector<Expected>& expected, int sessions,
                  int64_t rounds, Clock::duration most_time) {
  Engine engine(model, ops::select_host_backend(),
                {.max_sequences = 16,
                 .max_queue = 1000,
                 .prefill_chunk = 48,
                 .state_budget_bytes = 24 << 20,
                 .checkpoint_tokens = 40,
                 .drafts = {.automatic = true, .depth = 3},
                 .threads = Threads{2}});
  const Clock::time_point end = Clock::now() + most_time;
  std::atomic<int64_t> next = 0, compared = 0, cut = 0;
  const auto run = [&](uint64_t thread, int mine) {
    struct Session {
      std::optional<Generation> generation;
      size_t which = 0;
      std::vector<int32_t> tokens;
      size_t cancel_after = SIZE_MAX, leave_after = SIZE_MAX;
    };
    std::vector<Session> open(static_cast<size_t>(mine));
    uint64_t draws = 0;
    const auto draw = [&](uint64_t below) { return random_bits(thread, 11, draws++) % below; };
    bool any = true;
    while (any) {
      any = false;
      for (Session& session : open) {
        if (!session.generation) {
          if (next++ >= rounds || Clock::now() > end) continue;
          session.which = draw(expected.size());
          session.tokens.clear();
          session.cancel_after = draw(4) == 0 ? draw(20) : SIZE_MAX;
          session.leave_after = draw(8) == 0 ? draw(20) : SIZE_MAX;
          session.generation.emplace(engine.submit(expected[session.which].request));
        }
        any = true;
        const std::optional<Event> event =
            session.generation->next(std::chrono::milliseconds(1 + draw(5)));
        if (!event) continue;
        for (const OutputToken& token : event->tokens) session.tokens.push_back(token.token);
        const std::vector<int32_t>& alone = expected[session.which].tokens;
        const bool leaves = session.tokens.size() >= session.leave_after;
        if (session.tokens.size() >= session.cancel_after) session.generation->cancel();
        if (!event->finish && !leaves) continue;
        ++compared;
        if (leaves || event->finish->reason == FinishReason::cancelled) {
          ++cut;
          ASSERT_LE(session.tokens.size(), alone.size());
          EXPECT_TRUE(std::equal(session.tokens.begin(), session.tokens.end(), alone.begin()))
              << session.which;
        } else {
          EXPECT_NE(event->finish->reason, FinishReason::failed);
          EXPECT_EQ(session.tokens, alone) << session.which;
        }
        session.generation.reset();  // some leave without waiting for the end
      }
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 4; ++thread) threads.emplace_back(run, thread, sessions / 4);
  for (std::thread& thread : threads) thread.join();
  EngineMetrics metrics = engine.metrics();
  while (metrics.running + metrics.queued > 0) {  // those whose callers left
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    metrics = engine.metrics();
  }
  std::cout << compared << " outputs equal to their solo runs, " << cut << " of them cut short by "
            << "their callers; " << metrics.cache_hits << " prefix hits, " << metrics.cached_tokens
            << " tokens from them; " << metrics.passes << " passes\n";
  EXPECT_GT(metrics.cache_hits, 0);
  EXPECT_EQ(metrics.failed, 0);
  EXPECT_EQ(metrics.finished + metrics.cancelled, metrics.submitted);
}

struct SmallModel {
  RandomModelDirectory directory;
  Model model = make_random_model(
      directory.path(),
      {.attention = {false, true, false}, .hidden = 48, .vocab = 90, .head_dim = 16, .experts = 5},
      3);
};

TEST(Concurrency, OutputsOfManySessionsAreThoseOfEachAlone) {
  const SmallModel small;
  run_sessions(small.model, expected_outputs(small.model, 24), 16, 120, std::chrono::minutes(1));
}

TEST(FullConcurrency, SixtyFourSessionsForFifteenSecondsGiveWhatEachGivesAlone) {
  const SmallModel small;
  run_sessions(small.model, expected_outputs(small.model, 100), 64, INT64_MAX / 2,
               std::chrono::seconds(15));
}

// QROUND_SOAK_SECONDS changes the ten minutes.
TEST(SoakConcurrency, SixtyFourSessionsForTenMinutesGiveWhatEachGivesAlone) {
  const char* seconds = std::getenv("QROUND_SOAK_SECONDS");
  const SmallModel small;
  run_sessions(small.model, expected_outputs(small.model, 300), 64, INT64_MAX / 2,
               std::chrono::seconds(seconds == nullptr ? 600 : std::atoi(seconds)));
}

}  // namespace
}  // namespace qround
