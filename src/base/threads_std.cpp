// The same loops on std::thread, for builds whose sanitizer does not understand libgomp.
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/threads.h"

namespace qround {
namespace {
thread_local bool inside_loop = false;
}

Threads Threads::all() {
  return Threads{static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))};
}

void parallel_for(Threads threads, size_t n, LoopBody body) {
  if (threads.count <= 1 || n <= 1 || inside_loop) {
    for (size_t index = 0; index < n; ++index) body(index, 0);
    return;
  }
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&](int worker) {
    inside_loop = true;
    for (size_t index = next++; index < n; index = next++) {
      try {
        body(index, worker);
      } catch (...) {
        const std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
      }
    }
    inside_loop = false;
  };
  std::vector<std::thread> others;
  for (int worker = 1; worker < threads.count; ++worker) others.emplace_back(run, worker);
  run(0);
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace qround
