#include "stream/activation_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>

#include "base/error.h"

namespace qround {
namespace {

// A file without a name in `folder`, `bytes` long with its blocks reserved: a store to a mapping
// without them would be a signal instead of an error.
int unnamed_file(const std::filesystem::path& folder, size_t bytes) {
  std::string name = (folder / "activations-XXXXXX").string();
  const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) throw system_error("create a file for activations", folder);
  ::unlink(name.c_str());
  errno = ::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes));
  if (errno != 0) {
    const Error error = system_error("reserve disk for activations", folder);
    ::close(descriptor);
    throw error;
  }
  return descriptor;
}

float* map(int descriptor, size_t bytes) {
  const int sharing = descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, sharing, descriptor, 0);
  if (address == MAP_FAILED) throw Error("no memory for activations", ErrorKind::resource);
  return static_cast<float*>(address);
}

}  // namespace

ActivationStore::ActivationStore(int64_t samples, int64_t floats)
    : samples_(samples), floats_(floats), data_(map(-1, bytes())) {}

ActivationStore::ActivationStore(int64_t samples, int64_t floats,
                                 const std::filesystem::path& folder)
    : samples_(samples), floats_(floats) {
  const int descriptor = unnamed_file(folder, bytes());
  try {
    data_ = map(descriptor, bytes());
  } catch (const Error&) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

ActivationStore::~ActivationStore() {
  if (data_ != nullptr) ::munmap(data_, bytes());
}

ActivationStore::ActivationStore(ActivationStore&& other) noexcept
    : samples_(other.samples_),
      floats_(other.floats_),
      data_(std::exchange(other.data_, nullptr)) {}

ActivationStore& ActivationStore::operator=(ActivationStore&& other) noexcept {
  std::swap(samples_, other.samples_);
  std::swap(floats_, other.floats_);
  std::swap(data_, other.data_);
  return *this;
}

void ActivationStore::prefetch(int64_t index) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(sample(index)) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(sample(index) + floats_);
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

}  // namespace qround
