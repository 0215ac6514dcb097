#include "quant/batch_feed.h"

#include <algorithm>
#include <utility>

namespace qround::quant {
namespace {

size_t bytes_of(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

}  // namespace

BatchFeed::Travel::Travel(int64_t batch_floats, const ops::Memory& memory)
    : pinned(memory, static_cast<size_t>(2 * batch_floats)),
      arrived(memory, 2 * batch_floats),
      stream(memory),
      sent(memory),
      consumed(memory) {}

BatchFeed::BatchFeed(const SampleStore& inputs, const SampleStore& targets, int64_t batch,
                     int64_t floats, const Executor& executor)
    : inputs_(inputs), targets_(targets), floats_(floats), executor_(executor) {
  const ops::Memory& memory = *executor.ops.memory;
  if (!memory.is_host && inputs.on_host()) travel_.emplace(batch * floats, memory);
}

void BatchFeed::fetch(std::vector<int64_t> samples) {
  samples_ = std::move(samples);
  for (const int64_t sample : samples_) {
    inputs_.prefetch(sample);
    targets_.prefetch(sample);
  }
  if (!travel_) return;
  travel_->sent.wait();
  float* const pinned = travel_->pinned.values().data();
  parallel_for(executor_.context.threads, 2 * samples_.size(), [&](size_t i, int) {
    const SampleStore& store = i < samples_.size() ? inputs_ : targets_;
    std::copy_n(store.host().sample(samples_[i % samples_.size()]), floats_,
                pinned + static_cast<int64_t>(i) * floats_);
  });
  travel_->consumed.wait_in(travel_->stream.get());
  executor_.ops.memory->upload(travel_->arrived.data(), pinned, bytes_of(2 * batch_floats()),
                               travel_->stream.get());
  travel_->sent.record(travel_->stream.get());
}

void BatchFeed::give(float* inputs, float* targets) {
  if (!travel_) {
    const bool on_host = executor_.ops.memory->is_host;
    parallel_for(on_host ? executor_.context.threads : Threads{1}, samples_.size(),
                 [&](size_t i, int) {
                   const int64_t place = static_cast<int64_t>(i) * floats_;
                   inputs_.load(samples_[i], floats_, inputs + place, executor_);
                   targets_.load(samples_[i], floats_, targets + place, executor_);
                 });
    return;
  }
  const ops::Memory& memory = *executor_.ops.memory;
  ops::Stream* stream = executor_.context.stream;
  travel_->sent.wait_in(stream);
  memory.copy(inputs, travel_->arrived.data(), bytes_of(batch_floats()), stream);
  memory.copy(targets, travel_->arrived.data() + batch_floats(), bytes_of(batch_floats()), stream);
  travel_->consumed.record(stream);
}

}  // namespace qround::quant
