// How loops run in parallel. `Threads` is a value handed down; results never depend on its count.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace qround {

// A loop body by reference, without allocation: called as body(index, worker).
class LoopBody {
 public:
  template <typename F>
  LoopBody(const F& function)  // NOLINT(google-explicit-constructor)
      : object_(&function), call_([](const void* object, size_t index, int worker) {
          (*static_cast<const F*>(object))(index, worker);
        }) {}
  void operator()(size_t index, int worker) const { call_(object_, index, worker); }

 private:
  const void* object_;
  void (*call_)(const void*, size_t, int);
};

struct Threads {
  int count = 1;

  // All processors this process may use.
  static Threads all();
};

// Runs body(index, worker) for every index in [0, n), in any order, worker in [0, threads.count).
// Indices are handed out one by one, so bodies may differ in cost; make each worth some
// microseconds. The first exception thrown by a body is rethrown here after all others ended.
// Nested calls run serially.
void parallel_for(Threads threads, size_t n, LoopBody body);

}  // namespace qround
