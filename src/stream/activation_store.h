// Hidden states of the calibration sequences between the blocks of a network: [samples, floats],
// changed in place, in memory or in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace qround {

// Different samples may be used by different threads. Contents start as zeros.
class ActivationStore {
 public:
  // In anonymous memory.
  ActivationStore(int64_t samples, int64_t floats);
  // In an unnamed file in `folder`: its pages are the kernel's to keep or to write back, and
  // nothing is left when the process ends, however it ends. The space is reserved at once: throws
  // Error of kind `resource` when the disk has too little.
  ActivationStore(int64_t samples, int64_t floats, const std::filesystem::path& folder);
  ~ActivationStore();
  ActivationStore(ActivationStore&& other) noexcept;
  ActivationStore& operator=(ActivationStore&& other) noexcept;

  int64_t samples() const { return samples_; }
  int64_t floats() const { return floats_; }  // of each sample
  float* sample(int64_t index) { return data_ + index * floats_; }
  const float* sample(int64_t index) const { return data_ + index * floats_; }

  // A sample will be used soon: asks for its pages. Changes speed, never results.
  void prefetch(int64_t index) const;

 private:
  size_t bytes() const { return static_cast<size_t>(samples_ * floats_) * sizeof(float); }

  int64_t samples_ = 0, floats_ = 0;
  float* data_ = nullptr;
};

}  // namespace qround
