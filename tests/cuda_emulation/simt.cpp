#include "tests/cuda_emulation/simt.h"

#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "cuda_runtime.h"
#include "tests/cuda_emulation/fiber.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace qround::cuda_emulation {
namespace {

constexpr int kNaNByte = 0xFF;

struct LateCopy {
  void* to;
  const void* from;
  size_t bytes, valid;
};

enum class Wait { none, block, warp, ended };

struct Thread {
  Fiber fiber;
  uint3 index{};
  Wait wait = Wait::ended;
  void* operands = nullptr;  // of the warp collective it waits in
  uint32_t mask = 0;
  std::vector<LateCopy> open_copies;
  std::deque<std::vector<LateCopy>> copy_groups;
};

constexpr std::align_val_t kSharedAlignment{1024};
struct AlignedDelete {
  void operator()(std::byte* data) const { ::operator delete[](data, kSharedAlignment); }
};

struct Block {
  std::vector<std::unique_ptr<Thread>> threads;  // made once, used by all launches
  size_t count = 0, running = 0, arrived = 0;
  int votes = 0;        // of the barrier in progress
  int last_votes[2]{};  // of finished ones, alternating
  unsigned barriers = 0;
  size_t current = 0;
  KernelCall kernel{};
  std::unique_ptr<std::byte[], AlignedDelete> shared;  // of exactly the size asked for
  size_t shared_bytes = 0;
  uint64_t turn = 0;

  Thread& thread() { return *threads[current]; }
};

Block& the_block() {
  static Block block;
  return block;
}

void leave_until(Wait wait) {
  Thread& self = the_block().thread();
  self.wait = wait;
  self.fiber.leave();
}

void finish_barrier(Block& block) {
  block.last_votes[block.barriers++ & 1] = block.votes;
  block.votes = 0;
  block.arrived = 0;
  for (size_t i = 0; i < block.count; ++i)
    if (block.threads[i]->wait == Wait::block) block.threads[i]->wait = Wait::none;
}

void run_thread(void*) {
  Block& block = the_block();
  block.kernel.run(block.kernel.call);
  Thread& self = block.thread();
  self.wait = Wait::ended;
  --block.running;
  if (block.arrived > 0 && block.arrived == block.running) finish_barrier(block);
  self.fiber.leave(true);
}

void start_threads(Block& block, Index3 shape) {
  block.count = block.running = size_t{shape.x} * shape.y * shape.z;
  block.arrived = 0;
  block.votes = 0;
  while (block.threads.size() < block.count) block.threads.push_back(std::make_unique<Thread>());
  for (size_t i = 0; i < block.count; ++i) {
    Thread& thread = *block.threads[i];
    thread.index = {static_cast<unsigned>(i % shape.x),
                    static_cast<unsigned>(i / shape.x % shape.y),
                    static_cast<unsigned>(i / shape.x / shape.y)};
    thread.wait = Wait::none;
    thread.open_copies.clear();
    thread.copy_groups.clear();
    thread.fiber.prepare(run_thread, nullptr);
  }
}

void run_block(Block& block, Index3 shape) {
  if (block.shared_bytes > 0) std::memset(block.shared.get(), kNaNByte, block.shared_bytes);
  start_threads(block, shape);
  const bool reverse = (block.turn++ & 1) != 0;
  while (block.running > 0) {
    bool moved = false;
    for (size_t i = 0; i < block.count; ++i) {
      block.current = reverse ? block.count - 1 - i : i;
      if (block.thread().wait != Wait::none) continue;
      moved = true;
      threadIdx = block.thread().index;
      block.thread().fiber.enter();
    }
    if (!moved)
      throw Error(
          "emulated kernel stands still: some of its threads wait for others that never come")
          .expected(std::to_string(block.running) + " threads at one barrier")
          .actual(std::to_string(block.arrived) + " at a block's, the others at a warp's");
  }
}

}  // namespace

void run_grid(Index3 grid, Index3 shape, size_t shared_bytes, KernelCall kernel) {
  Block& block = the_block();
  block.kernel = kernel;
  block.shared.reset(new (kSharedAlignment) std::byte[shared_bytes]);
  block.shared_bytes = shared_bytes;
  blockDim = {shape.x, shape.y, shape.z};
  gridDim = {grid.x, grid.y, grid.z};
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block(block, shape);
      }
}

std::byte* shared_memory() { return the_block().shared.get(); }

int block_barrier(bool predicate) {
  Block& block = the_block();
  block.votes += predicate ? 1 : 0;
  const unsigned mine = block.barriers;
  if (++block.arrived == block.running) {
    finish_barrier(block);
  } else {
    leave_until(Wait::block);
  }
  return block.last_votes[mine & 1];
}

int lane() { return static_cast<int>(the_block().current % kWarp); }

void warp_collective(uint32_t mask, void* operands,
                     void (*combine)(void* const (&lanes)[kWarp], uint32_t mask)) {
  Block& block = the_block();
  const size_t first = block.current / kWarp * kWarp;
  Thread& self = block.thread();
  self.operands = operands;
  self.mask = mask;
  self.wait = Wait::warp;
  void* lanes[kWarp]{};
  for (size_t i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0) continue;
    const Thread* other = first + i < block.count ? block.threads[first + i].get() : nullptr;
    if (other == nullptr || other->wait != Wait::warp || other->mask != mask) {
      self.fiber.leave();
      return;
    }
    lanes[i] = other->operands;
  }
  if (combine != nullptr) combine(lanes, mask);
  for (size_t i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0) block.threads[first + i]->wait = Wait::none;
}

void copy_later(void* to, const void* from, size_t bytes, size_t valid) {
  std::memset(to, kNaNByte, bytes);
  the_block().thread().open_copies.push_back({to, from, bytes, valid});
}

void commit_copies() {
  Thread& self = the_block().thread();
  self.copy_groups.push_back(std::move(self.open_copies));
  self.open_copies.clear();
}

void wait_for_copies(int groups_left) {
  auto& groups = the_block().thread().copy_groups;
  while (groups.size() > static_cast<size_t>(groups_left)) {
    for (const LateCopy& copy : groups.front()) {
      if (copy.valid > 0) std::memcpy(copy.to, copy.from, copy.valid);
      std::memset(static_cast<std::byte*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
    }
    groups.pop_front();
  }
}

}  // namespace qround::cuda_emulation
