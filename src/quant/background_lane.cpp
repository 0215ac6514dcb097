#include "quant/background_lane.h"

#include <utility>

namespace qround::quant {

BackgroundLane::BackgroundLane() : thread_([this](const std::stop_token& stop) { work(stop); }) {}

BackgroundLane::~BackgroundLane() = default;  // the thread's destructor stops and joins it

BackgroundLane::Ticket BackgroundLane::push(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  changed_.notify_all();
  return ++pushed_;
}

void BackgroundLane::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= ticket || failure_; });
  if (failure_) std::rethrow_exception(failure_);
}

void BackgroundLane::wait_all() { wait(pushed_); }

void BackgroundLane::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return !tasks_.empty(); })) {
    if (stop.stop_requested()) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    if (!failure_) {
      lock.unlock();
      std::exception_ptr failure;
      try {
        task();
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      failure_ = failure;
    }
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace qround::quant
