#include "tests/cuda_emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace qround::cuda_emulation {
namespace {

constexpr size_t kStackBytes = size_t{256} << 10;  // pages that nobody touches cost nothing

// What a sanitizer must know of the two stacks.
struct Sanitizer {
#if defined(__SANITIZE_ADDRESS__)
  void* outer_fake = nullptr;
  void* inner_fake = nullptr;
  const void* outer_bottom = nullptr;
  size_t outer_size = 0;
  void begin(std::byte* stack) { __asan_unpoison_memory_region(stack, kStackBytes); }
  void before_enter(std::byte* stack) {
    __sanitizer_start_switch_fiber(&outer_fake, stack, kStackBytes);
  }
  void after_enter() { __sanitizer_finish_switch_fiber(outer_fake, nullptr, nullptr); }
  void before_leave(bool for_good) {
    __sanitizer_start_switch_fiber(for_good ? nullptr : &inner_fake, outer_bottom, outer_size);
  }
  void after_leave() { __sanitizer_finish_switch_fiber(inner_fake, &outer_bottom, &outer_size); }
  void at_entry() { __sanitizer_finish_switch_fiber(nullptr, &outer_bottom, &outer_size); }
#elif defined(__SANITIZE_THREAD__)
  void* outer = nullptr;
  void* inner = __tsan_create_fiber(0);
  ~Sanitizer() { __tsan_destroy_fiber(inner); }
  void begin(std::byte*) {
    __tsan_destroy_fiber(inner);
    inner = __tsan_create_fiber(0);
  }
  void before_enter(std::byte*) {
    outer = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(inner, 0);
  }
  void after_enter() {}
  void before_leave(bool) { __tsan_switch_to_fiber(outer, 0); }
  void after_leave() {}
  void at_entry() {}
#else
  void begin(std::byte*) {}
  void before_enter(std::byte*) {}
  void after_enter() {}
  void before_leave(bool) {}
  void after_leave() {}
  void at_entry() {}
#endif
};

}  // namespace

struct Fiber::State {
  std::byte* stack = nullptr;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
  Sanitizer sanitizer;
#if defined(__x86_64__)
  void* outer = nullptr;  // stack pointers
  void* inner = nullptr;
#else
  ucontext_t outer, inner;
#endif
};

namespace {
thread_local void* starting = nullptr;  // the State that enter() begins
}

#if defined(__x86_64__)
extern "C" void qround_switch_stack(void** save, void* load);
// Saves what a called function must keep, changes stacks, and returns where the other one left.
asm(R"(
.text
.globl qround_switch_stack
.type qround_switch_stack, @function
qround_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size qround_switch_stack, .-qround_switch_stack
)");
#endif

Fiber::Fiber() : state_(std::make_unique<State>()) {
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) throw std::bad_alloc();
  state_->stack = static_cast<std::byte*>(stack);
}

Fiber::~Fiber() {
  state_->sanitizer.begin(state_->stack);
  munmap(state_->stack, kStackBytes);
}

void Fiber::start() {
  State& state = *static_cast<State*>(starting);
  state.sanitizer.at_entry();
  state.entry(state.argument);
  std::abort();  // the entry function leaves for good
}

void Fiber::prepare(void (*entry)(void*), void* argument) {
  State& state = *state_;
  state.entry = entry;
  state.argument = argument;
  state.sanitizer.begin(state.stack);
#if defined(__x86_64__)
  // Six saved registers, the address to return to, and one word that keeps calls 16-byte aligned.
  auto* top = reinterpret_cast<void**>(state.stack + kStackBytes) - 8;
  for (int word = 0; word < 8; ++word) top[word] = nullptr;
  top[6] = reinterpret_cast<void*>(&Fiber::start);
  state.inner = top;
#else
  getcontext(&state.inner);
  state.inner.uc_stack.ss_sp = state.stack;
  state.inner.uc_stack.ss_size = kStackBytes;
  state.inner.uc_link = nullptr;
  makecontext(&state.inner, &Fiber::start, 0);
#endif
}

void Fiber::enter() {
  State& state = *state_;
  starting = &state;
  state.sanitizer.before_enter(state.stack);
#if defined(__x86_64__)
  qround_switch_stack(&state.outer, state.inner);
#else
  swapcontext(&state.outer, &state.inner);
#endif
  state.sanitizer.after_enter();
}

void Fiber::leave(bool for_good) {
  State& state = *state_;
  state.sanitizer.before_leave(for_good);
#if defined(__x86_64__)
  qround_switch_stack(&state.inner, state.outer);
#else
  swapcontext(&state.inner, &state.outer);
#endif
  state.sanitizer.after_leave();
}

}  // namespace qround::cuda_emulation
