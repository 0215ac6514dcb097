#include "quant/sample_store.h"

#include <algorithm>

namespace qround::quant {
namespace {

size_t bytes_of(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

}  // namespace

SampleStore::SampleStore(ActivationStore host)
    : samples_(host.samples()), floats_(host.floats()), host_(std::move(host)) {}

SampleStore::SampleStore(int64_t samples, int64_t floats, const ops::Memory& device)
    : samples_(samples), floats_(floats), device_(device, samples * floats) {}

const float* SampleStore::in_place(int64_t index, const Executor& executor) const {
  if (!on_host()) return place(index);
  return executor.ops.memory->is_host ? host_->sample(index) : nullptr;
}

void SampleStore::load(int64_t index, int64_t count, float* to, const Executor& executor) const {
  const ops::Memory& memory = *executor.ops.memory;
  if (on_host()) {
    memory.upload(to, host_->sample(index), bytes_of(count), executor.context.stream);
  } else {
    memory.copy(to, place(index), bytes_of(count), executor.context.stream);
  }
}

void SampleStore::save(int64_t index, int64_t count, const float* from, const Executor& executor) {
  const ops::Memory& memory = *executor.ops.memory;
  if (on_host()) {
    memory.download(host_->sample(index), from, bytes_of(count), executor.context.stream);
  } else {
    memory.copy(place(index), from, bytes_of(count), executor.context.stream);
  }
}

void SampleStore::read(int64_t index, float* to, const Executor& executor) const {
  if (on_host()) {
    std::copy_n(host_->sample(index), floats_, to);
  } else {
    executor.ops.memory->download(to, place(index), bytes_of(floats_), executor.context.stream);
  }
}

void SampleStore::write(int64_t index, const float* from, const Executor& executor) {
  if (on_host()) {
    std::copy_n(from, floats_, host_->sample(index));
  } else {
    executor.ops.memory->upload(place(index), from, bytes_of(floats_), executor.context.stream);
  }
}

void SampleStore::prefetch(int64_t index) const {
  if (on_host()) host_->prefetch(index);
}

}  // namespace qround::quant
