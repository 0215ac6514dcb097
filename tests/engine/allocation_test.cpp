// The decode loop allocates nothing: every operator new of this program is counted.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/scheduler.h"
#include "tests/engine/random_model.h"

namespace {
std::atomic<int64_t> allocations = 0;

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded))
    return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new[](std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace qround {
namespace {

// Whether a parallel loop allocates by itself, as those on std::thread do.
bool loops_allocate() {
  const auto loop = [] { parallel_for(Threads{2}, 2, [](size_t, int) {}); };
  loop();
  const int64_t before = allocations;
  loop();
  return allocations != before;
}

struct Decoding {
  DraftOptions drafts;
  int32_t sequences = 1;
  SamplingOptions sampling = {};
  std::optional<int64_t> top_logprobs = std::nullopt;
  ops::Activations activations = ops::Activations::f32;
};

// Some requests decode for a while; after the first passes none may allocate, even where pages of
// keys and values fill and new ones begin.
int64_t allocations_of_decoding(const Model& model, const Decoding& decoding) {
  Scheduler scheduler(model, ops::select_host_backend(),
                      {.max_sequences = decoding.sequences,
                       .state_budget_bytes = 64 << 20,
                       .drafts = decoding.drafts,
                       .threads = Threads{decoding.sequences == 1 || loops_allocate() ? 1 : 2},
                       .activations = decoding.activations});
  for (int32_t i = 0; i < decoding.sequences; ++i) {
    Request request{.tokens = {1, 2, i},
                    .sampling = decoding.sampling,
                    .logit_bias = {{3, 1.0f}},
                    .max_tokens = 1200,
                    .top_logprobs = decoding.top_logprobs};
    scheduler.check(request);
    scheduler.add(scheduler.record(std::move(request)));
  }
  for (int pass = 0; pass < 30; ++pass) scheduler.step();
  const int64_t before = allocations;
  for (int pass = 0; pass < 150; ++pass) EXPECT_TRUE(scheduler.step());
  const int64_t counted_allocations = allocations - before;
  EXPECT_EQ(scheduler.metrics().running, decoding.sequences);
  return counted_allocations;
}

// One sequence and four, without drafts, with a fixed number and with a changing one, greedy and
// with all that sampling can be asked for.
void expect_no_allocations(const Model& model, ops::Activations activations) {
  constexpr DraftOptions kNone{.automatic = false, .depth = 0};
  constexpr DraftOptions kTwo{.automatic = false, .depth = 2};
  constexpr DraftOptions kAutomatic{.automatic = true, .depth = 4};
  const SamplingOptions sampled{
      .temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.1f, .frequency_penalty = 0.1f};
  const Decoding all[] = {
      {.drafts = kNone, .sequences = 1, .activations = activations},
      {.drafts = kNone, .sequences = 4, .sampling = sampled, .activations = activations},
      {.drafts = kTwo, .sequences = 1, .sampling = sampled, .activations = activations},
      {.drafts = kTwo, .sequences = 4, .top_logprobs = 5, .activations = activations},
      {.drafts = kAutomatic, .sequences = 4, .activations = activations}};
  for (const Decoding& decoding : all) {
    SCOPED_TRACE(testing::Message()
                 << decoding.sequences << " sequences, depth " << decoding.drafts.depth);
    EXPECT_EQ(allocations_of_decoding(model, decoding), 0);
  }
}

TEST(Allocation, TheDecodeLoopAllocatesNothing) {
  const RandomModelDirectory directory;
  expect_no_allocations(make_random_model(directory.path(), {}, 8), ops::Activations::f32);
}

TEST(Allocation, TheDecodeLoopOfAnInt4CheckpointAllocatesNothing) {
  const Model model = Model::load(std::make_shared<Checkpoint>(Checkpoint::open(
      std::filesystem::path(QROUND_SOURCE_DIR) / "tests/data/golden/autoround-rtn")));
  expect_no_allocations(model, ops::Activations::f32);
  expect_no_allocations(model, ops::Activations::int8);
}

TEST(Allocation, TheGuardCounts) {
  const int64_t before = allocations;
  delete new int(3);
  EXPECT_EQ(allocations - before, 1);
}

}  // namespace
}  // namespace qround
