#include <omp.h>

#include <exception>
#include <mutex>

#include "base/threads.h"

namespace qround {

Threads Threads::all() { return Threads{omp_get_num_procs()}; }

void parallel_for(Threads threads, size_t n, LoopBody body) {
  if (threads.count <= 1 || n <= 1 || omp_in_parallel()) {
    for (size_t index = 0; index < n; ++index) body(index, 0);
    return;
  }
  std::exception_ptr failure;
  std::mutex failure_mutex;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads.count)
  for (size_t index = 0; index < n; ++index) {
    try {
      body(index, omp_get_thread_num());
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace qround
