// Runs CUDA kernels on the CPU, so that every test of an operation also tests its .cu file on a
// machine without a GPU.
//
// A kernel is compiled by the host compiler against the headers of include/, which stand in front
// of the real ones. Its blocks run one after the other; the threads of a block are fibers that run
// until they wait for each other. What that finds: wrong indices (under AddressSanitizer), reading
// shared or device memory nobody wrote (both begin as NaN), a barrier that not all threads reach,
// and a missing barrier, since the threads of every other block run in reverse order. What it does
// not find: races among blocks, and what only hardware does (bank conflicts, alignment of vector
// accesses beyond the host's, limits of registers and shared memory).
//
// Launches come from one host thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qround::cuda_emulation {

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

// The kernel with its arguments, by reference.
struct KernelCall {
  void (*run)(const void* call);
  const void* call;
};

// Throws Error when threads wait for others that never come.
void run_grid(Index3 grid, Index3 block, size_t shared_bytes, KernelCall kernel);

// The following are called by kernels.

std::byte* shared_memory();

// All threads of the block that still run; returns how many came with `predicate`.
int block_barrier(bool predicate);

inline constexpr int kWarp = 32;

// Waits until all lanes of `mask` are here with equal masks; then `combine` runs once, over what
// every lane handed in (null for lanes outside of the mask), and all go on.
void warp_collective(uint32_t mask, void* lane_operands,
                     void (*combine)(void* const (&lanes)[kWarp], uint32_t mask));

int lane();

// Asynchronous copies into shared memory: `to` reads as NaN until the group of the copy is waited
// for. Of `bytes`, those from `valid` on are zeros.
void copy_later(void* to, const void* from, size_t bytes, size_t valid);
void commit_copies();
void wait_for_copies(int groups_left);

}  // namespace qround::cuda_emulation
