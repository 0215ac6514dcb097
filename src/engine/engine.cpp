#include "engine/engine.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"
#include "engine/request_record.h"
#include "engine/scheduler.h"

namespace qround {

Generation::Generation(std::shared_ptr<RequestRecord> record) : record_(std::move(record)) {}

Generation::~Generation() { cancel(); }

Generation& Generation::operator=(Generation&& other) noexcept {
  if (this == &other) return *this;
  cancel();
  record_ = std::move(other.record_);
  return *this;
}

std::optional<Event> Generation::next(std::chrono::milliseconds timeout) {
  return record_->next(timeout);
}

void Generation::cancel() {
  if (record_) record_->cancel();
}

struct Engine::Impl {
  Impl(const Model& model, const ops::OpTable& ops, const EngineOptions& given)
      : options(given), scheduler(model, ops, given), latest(scheduler.metrics()) {
    thread = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

  // The engine's thread: takes in what was submitted and does one pass after the other.
  void run(const std::stop_token& stop) {
    bool busy = false;
    while (true) {
      {
        std::unique_lock lock(mutex);
        if (!busy) wake.wait(lock, stop, [&] { return !submitted.empty(); });
        if (stop.stop_requested()) break;
        for (std::shared_ptr<RequestRecord>& record : submitted) scheduler.add(std::move(record));
        submitted.clear();
      }
      try {
        busy = scheduler.step();
      } catch (const Error& error) {
        scheduler.fail_all(error);
      } catch (const std::exception& error) {
        scheduler.fail_all(Error(error.what(), ErrorKind::resource));
      }
      publish();
    }
    const std::lock_guard lock(mutex);
    for (std::shared_ptr<RequestRecord>& record : submitted) scheduler.add(std::move(record));
    submitted.clear();
    scheduler.cancel_all();
    latest = scheduler.metrics();
  }

  void publish() {
    const std::lock_guard lock(mutex);
    latest = scheduler.metrics();
  }

  const EngineOptions options;
  Scheduler scheduler;  // of the engine's thread, but for what its header calls thread-safe

  mutable std::mutex mutex;  // guards what follows
  std::condition_variable_any wake;
  std::vector<std::shared_ptr<RequestRecord>> submitted;
  EngineMetrics latest;
  int64_t rejected = 0;

  std::jthread thread;  // last: it uses the members above
};

Engine::Engine(const Model& model, const ops::OpTable& ops, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, ops, options)) {}

Engine::~Engine() = default;

Generation Engine::submit(Request request) {
  impl_->scheduler.check(request);
  std::shared_ptr<RequestRecord> record = impl_->scheduler.record(std::move(request));
  {
    const std::lock_guard lock(impl_->mutex);
    const auto waiting = impl_->latest.queued + static_cast<int64_t>(impl_->submitted.size());
    if (waiting >= impl_->options.max_queue) {
      ++impl_->rejected;
      throw Error("too many requests wait", ErrorKind::resource)
          .expected(fmt::format("at most {}", impl_->options.max_queue))
          .hint("try again later");
    }
    impl_->submitted.push_back(record);
  }
  impl_->wake.notify_one();
  return Generation(std::move(record));
}

EngineMetrics Engine::metrics() const {
  const std::lock_guard lock(impl_->mutex);
  EngineMetrics metrics = impl_->latest;
  metrics.queued += static_cast<int64_t>(impl_->submitted.size());
  metrics.rejected = impl_->rejected;
  return metrics;
}

const MemoryPlan& Engine::memory_plan() const { return impl_->scheduler.memory_plan(); }
const EngineOptions& Engine::options() const { return impl_->options; }

}  // namespace qround
