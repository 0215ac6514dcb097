// A stack of its own that runs until it is left and goes on where it left: one thread of an
// emulated block. Written for x86-64; other processors go through ucontext.
#pragma once

#include <cstddef>
#include <memory>

namespace qround::cuda_emulation {

// Belongs to the host thread that made it.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes the next enter() begin `entry(argument)`. What ran on the stack before is forgotten.
  void prepare(void (*entry)(void*), void* argument);

  // Runs the fiber until it calls leave(). From outside of it.
  void enter();

  // Goes back to enter(). `for_good`: the entry function has come to its end and never goes on.
  void leave(bool for_good = false);

 private:
  struct State;
  static void start();

  std::unique_ptr<State> state_;
};

}  // namespace qround::cuda_emulation
