#include "ops/memory.h"

#include <cstring>
#include <new>

namespace qround::ops {
namespace {

constexpr std::align_val_t kAlignment{64};

void* allocate(size_t bytes) { return ::operator new(bytes, kAlignment); }

void release(void* data) noexcept { ::operator delete(data, kAlignment); }

void copy(void* to, const void* from, size_t bytes, Stream*) { std::memmove(to, from, bytes); }

void fill_zero(void* to, size_t bytes, Stream*) { std::memset(to, 0, bytes); }

}  // namespace

constexpr Memory kHostMemory = {.is_host = true,
                                .allocate = allocate,
                                .release = release,
                                .upload = copy,
                                .download = copy,
                                .copy = copy,
                                .fill_zero = fill_zero,
                                .synchronize = [](Stream*) {}};

}  // namespace qround::ops
