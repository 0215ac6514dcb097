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

// Some requests decode for a while; after the first passes none may allocate, even where pages of
// keys and values fill and new ones begin.
int64_t allocations_of_decoding(const Model& model, const DraftOptions& drafts,
                                const SamplingOptions& sampling,
                                std::optional<int64_t> top_logprobs) {
  Scheduler scheduler(model, ops::select_backend(""),
                      {.max_sequences = 3,
                       .state_budget_bytes = 64 << 20,
                       .drafts = drafts,
                       .threads = Threads{1}});
  std::vector<std::shared_ptr<RequestRecord>> records;
  for (int32_t i = 0; i < 3; ++i) {
    Request request{.tokens = {1, 2, i},
                    .sampling = sampling,
                    .logit_bias = {{3, 1.0f}},
                    .max_tokens = 1000,
                    .top_logprobs = top_logprobs};
    scheduler.check(request);
    records.push_back(scheduler.record(std::move(request)));
    scheduler.add(records.back());
  }
  for (int pass = 0; pass < 30; ++pass) scheduler.step();
  const int64_t before = allocations;
  for (int pass = 0; pass < 200; ++pass) EXPECT_TRUE(scheduler.step());
  const int64_t counted_allocations = allocations - before;
  EXPECT_EQ(scheduler.metrics().running, 3);
  return counted_allocations;
}

TEST(Allocation, TheDecodeLoopAllocatesNothing) {
  const RandomModelDirectory directory;
  const Model model = make_random_model(directory.path(), {}, 8);
  const SamplingOptions sampled{
      .temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.1f, .frequency_penalty = 0.1f};
  for (const DraftOptions drafts :
       {DraftOptions{.automatic = false, .depth = 0}, DraftOptions{.automatic = false, .depth = 2},
        DraftOptions{.automatic = true, .depth = 4}}) {
    SCOPED_TRACE(testing::Message() << "depth " << drafts.depth);
    EXPECT_EQ(allocations_of_decoding(model, drafts, {}, std::nullopt), 0);
    EXPECT_EQ(allocations_of_decoding(model, drafts, sampled, 5), 0);
  }
}

TEST(Allocation, TheGuardCounts) {
  const int64_t before = allocations;
  delete new int(3);
  EXPECT_EQ(allocations - before, 1);
}

}  // namespace
}  // namespace qround
