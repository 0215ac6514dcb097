// Runs tasks one after the other on a thread of its own, so that writing overlaps with computing.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace qround::quant {

// For one owner thread. The first exception of a task is rethrown by the owner's next wait; later
// tasks are dropped. The destructor waits for the running task and drops the others.
class BackgroundLane {
 public:
  using Ticket = uint64_t;

  BackgroundLane();
  ~BackgroundLane();
  BackgroundLane(const BackgroundLane&) = delete;
  BackgroundLane& operator=(const BackgroundLane&) = delete;

  Ticket push(std::function<void()> task);
  void wait(Ticket ticket);  // until that task and all before it are done
  void wait_all();

 private:
  void work(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> tasks_;
  Ticket pushed_ = 0, done_ = 0;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: it uses the members above
};

}  // namespace qround::quant
