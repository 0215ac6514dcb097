// Runs many requests at once on one model.
//
// One thread of the engine owns the model's scratch memory and all sequence states; callers on any
// thread submit requests and wait for their events. Each pass of the network takes the next piece
// of one prompt together with the next tokens (or drafts to verify) of every running request, so a
// long prompt stalls nobody. A request's output is a function of the request alone: not of the
// requests beside it, of how its prompt was cut, of what was found in the prefix cache, of drafts.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "engine/engine_options.h"
#include "engine/request.h"
#include "model/model.h"

namespace qround {

class Scheduler;
class RequestRecord;

// The caller's end of a request. One thread at a time may use it; destroying it cancels the request
// if it still runs. It may outlive the engine.
class Generation {
 public:
  explicit Generation(std::shared_ptr<RequestRecord> record);
  ~Generation();
  Generation(Generation&&) noexcept = default;
  Generation& operator=(Generation&&) noexcept;

  // Everything that came since the last call; waits up to `timeout` for something to come. Empty
  // when nothing came, and after the event with `finish`.
  std::optional<Event> next(std::chrono::milliseconds timeout);
  // Ends the request soon; the last event still comes.
  void cancel();

 private:
  std::shared_ptr<RequestRecord> record_;
};

class Engine {
 public:
  // `model` must outlive the engine, its weights in the memory of `ops`. Throws Error (resource)
  // when the states do not fit the budget.
  Engine(const Model& model, const ops::OpTable& ops, const EngineOptions& options);
  // Cancels what still runs.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Thread-safe. Throws Error of kind input for a request that can never run (no tokens, an id
  // outside the vocabulary, a prompt longer than the context, options out of range), of kind
  // resource when the queue is full.
  Generation submit(Request request);

  // Thread-safe.
  EngineMetrics metrics() const;
  const MemoryPlan& memory_plan() const;
  const EngineOptions& options() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qround
