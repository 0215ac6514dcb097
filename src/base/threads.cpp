// Every thread that runs loops has helper threads of its own, which live as long as it does. They
// wait for work by spinning for some microseconds, then asleep: loops of a forward pass follow each
// other closely, yet on a processor shared with other programs whoever spins takes the time of the
// thread it waits for. With OpenMP, whose threads spin for milliseconds, two programs of two
// threads on two cores were more than 40 times as slow as one after the other.
//
// Tested by tests/base/threads_test.cpp.
#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace qround {
namespace {

// Some tens of microseconds, and next to nothing.
constexpr int kMostSpins = 2000, kFewestSpins = 30;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How long to spin before sleeping: longer after it was worth it, shorter after it was not. Where
// more threads want to run than there are processors, spinning hardly ever is.
class Patience {
 public:
  // Returns when `value` is no longer `old`.
  void wait_while(const std::atomic<uint32_t>& value, uint32_t old) {
    for (int spin = 0; spin < spins_; ++spin) {
      if (value.load(std::memory_order_acquire) != old) {
        spins_ = std::min(kMostSpins, 2 * spins_);
        return;
      }
      relax();
    }
    spins_ = std::max(kFewestSpins, spins_ / 2);
    value.wait(old, std::memory_order_acquire);
  }

 private:
  int spins_ = kMostSpins;
};

thread_local bool inside_loop = false;

// One loop's indices, shared by those who work on it.
class Loop {
 public:
  Loop(size_t n, const LoopBody& body) : n_(n), body_(body) {}

  void work(int worker) {
    inside_loop = true;
    for (size_t index = next_++; index < n_; index = next_++) {
      try {
        body_(index, worker);
      } catch (...) {
        const std::lock_guard lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
    }
    inside_loop = false;
  }
  void rethrow_failure() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  const size_t n_;
  const LoopBody& body_;
  std::atomic<size_t> next_{0};
  std::exception_ptr failure_;
  std::mutex failure_mutex_;
};

// A thread that works on a loop whenever it is offered one and comes in time.
class Helper {
 public:
  explicit Helper(int worker) : thread_([this, worker] { run(worker); }) {}
  ~Helper() { offer(nullptr); }

  // The loop must live until `finish` returned. Null ends the thread.
  void offer(Loop* loop) {
    loop_ = loop;
    state_.store(kOffered, std::memory_order_release);
    state_.notify_one();
  }
  // Takes back what was offered if nobody came for it: on a busy machine a thread may be long in
  // coming, and the loop is over. Otherwise waits until the helper is done.
  void finish() {
    uint32_t state = kOffered;
    if (state_.compare_exchange_strong(state, kIdle, std::memory_order_acquire)) return;
    while (state_.load(std::memory_order_acquire) == kTaken)
      callers_patience_.wait_while(state_, kTaken);
  }

 private:
  enum State : uint32_t { kIdle, kOffered, kTaken };

  void run(int worker) {
    Patience patience;
    while (true) {
      patience.wait_while(state_, kIdle);
      uint32_t state = kOffered;
      if (!state_.compare_exchange_strong(state, kTaken, std::memory_order_acquire)) continue;
      if (loop_ == nullptr) return;
      loop_->work(worker);
      state_.store(kIdle, std::memory_order_release);
      state_.notify_one();
    }
  }

  Loop* loop_ = nullptr;
  std::atomic<uint32_t> state_{kIdle};
  Patience callers_patience_;
  std::jthread thread_;  // last: it reads the others
};

// Those of the calling thread; worker 0 is that thread itself.
std::vector<std::unique_ptr<Helper>>& helpers() {
  thread_local std::vector<std::unique_ptr<Helper>> own;
  return own;
}

}  // namespace

Threads Threads::all() {
  cpu_set_t usable;
  if (::sched_getaffinity(0, sizeof(usable), &usable) == 0) return Threads{CPU_COUNT(&usable)};
  return Threads{static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))};
}

void parallel_for(Threads threads, size_t n, LoopBody body) {
  const size_t workers = std::min(n, static_cast<size_t>(std::max(1, threads.count)));
  if (workers <= 1 || inside_loop) {
    for (size_t index = 0; index < n; ++index) body(index, 0);
    return;
  }
  auto& own = helpers();
  while (own.size() + 1 < workers)
    own.push_back(std::make_unique<Helper>(static_cast<int>(own.size()) + 1));
  Loop loop(n, body);
  for (size_t i = 0; i + 1 < workers; ++i) own[i]->offer(&loop);
  loop.work(0);
  for (size_t i = 0; i + 1 < workers; ++i) own[i]->finish();
  loop.rethrow_failure();
}

}  // namespace qround
