// Hidden states of the calibration sequences, [samples, floats], wherever they are kept: by the
// host, in memory or on its disk, or in a device's memory, where no iteration has to wait for them.
#pragma once

#include <cstdint>
#include <optional>

#include "model/block.h"
#include "stream/activation_store.h"

namespace qround::quant {

class SampleStore {
 public:
  explicit SampleStore(ActivationStore host);
  // In a device's memory, uninitialized. Throws Error of kind `resource`.
  SampleStore(int64_t samples, int64_t floats, const ops::Memory& device);

  int64_t samples() const { return samples_; }
  int64_t floats() const { return floats_; }  // of each sample

  // Of a store that the host keeps.
  bool on_host() const { return host_.has_value(); }
  const ActivationStore& host() const { return *host_; }
  ActivationStore& host() { return *host_; }

  // Where an operation of the executor's backend finds a sample; null where it has to be loaded.
  const float* in_place(int64_t index, const Executor& executor) const;

  // Copies the first `count` floats of a sample into or from memory of the executor's backend.
  void load(int64_t index, int64_t count, float* to, const Executor& executor) const;
  void save(int64_t index, int64_t count, const float* from, const Executor& executor);
  // The same with host memory, whose contents are there on return.
  void read(int64_t index, float* to, const Executor& executor) const;
  void write(int64_t index, const float* from, const Executor& executor);

  // A sample will be used soon. Changes speed, never results.
  void prefetch(int64_t index) const;

 private:
  float* place(int64_t index) { return device_.data() + index * floats_; }
  const float* place(int64_t index) const { return device_.data() + index * floats_; }

  int64_t samples_, floats_;
  std::optional<ActivationStore> host_;
  ops::Buffer<float> device_;
};

}  // namespace qround::quant
