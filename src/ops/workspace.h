// Scratch memory for operations: a stack of blocks that grows while a model warms up and is reused
// from then on, so that a steady decode loop does not allocate.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/threads.h"
#include "ops/memory.h"

namespace qround::ops {

// One thread's property: operations take scratch before they start their parallel loops. What is
// given back may be taken again at once: on a device, work enqueued later comes later.
class Workspace {
 public:
  explicit Workspace(const Memory& memory = host_memory()) : memory_(&memory) {}

  const Memory& memory() const { return *memory_; }

  // Everything taken while a Scope lives is given back when it ends. Scopes nest.
  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}
    ~Scope() {
      workspace_.block_ = block_;
      workspace_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    // `count` uninitialized elements, 64-byte aligned, valid until the scope ends.
    template <typename T>
    std::span<T> take(size_t count) {
      return {static_cast<T*>(workspace_.take_bytes(count * sizeof(T))), count};
    }

   private:
    Workspace& workspace_;
    size_t block_, used_;
  };

  // Makes one block of that size when nothing was taken yet, so that nothing is lost at the ends of
  // blocks that turned out too small.
  void reserve(size_t bytes);
  size_t reserved_bytes() const;
  // The most that was taken at a time, gaps at the ends of blocks included.
  size_t peak_bytes() const { return peak_bytes_; }

 private:
  void* take_bytes(size_t bytes);
  void add_block(size_t bytes);

  const Memory* memory_;
  std::vector<Buffer<std::byte>> blocks_;
  size_t block_ = 0;  // index of the block in use
  size_t used_ = 0;   // bytes used of it
  size_t peak_bytes_ = 0;
};

// How linear maps take their inputs, see ops/linear.h.
enum class Activations {
  f32,   // as they are
  bf16,  // where the weight is BF16: rounded to BF16; so are the operands of its gradients
  int8,  // where it is int4: rounded to 8 bits by row and group of the weight; where BF16: to BF16
};

// What every operation gets besides its operands.
struct OpContext {
  Threads threads;
  Workspace& workspace;  // in the backend's memory
  Activations activations = Activations::f32;
  // f32 inputs and dense weights: the faster way for many rows, whatever their number. The bits of
  // a row differ between the two ways and depend on nothing else, so whoever runs the same tokens
  // in batches of different sizes decides once.
  bool many_rows = false;
  Stream* stream = nullptr;  // of the backend; operations enqueue and do not wait

  // For a router, whose choices hang on small differences: inputs as they are.
  OpContext exact() const {
    OpContext context = *this;
    context.activations = Activations::f32;
    return context;
  }
};

}  // namespace qround::ops
