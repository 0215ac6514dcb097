// Values of the host where a backend's operations read them: as they lie on a host, a copy on a
// device. The host's must outlive this object.
#pragma once

#include <span>

#include "ops/memory.h"

namespace qround::ops {

template <typename T>
class ResidentCopy {
 public:
  ResidentCopy(const Memory& memory, std::span<const T> host, Stream* stream = nullptr)
      : data_(host.data()) {
    if (memory.is_host) return;
    copy_ = Buffer<T>(memory, host, stream);
    data_ = copy_.data();
  }
  const T* data() const { return data_; }

 private:
  const T* data_;
  Buffer<T> copy_;
};

}  // namespace qround::ops
