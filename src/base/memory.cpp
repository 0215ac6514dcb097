#include "base/memory.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace qround {
namespace {

constexpr auto kSamplePeriod = std::chrono::milliseconds(25);

// "RssAnon:\t  123 kB" -> bytes; 0 when `text` has no such line.
uint64_t kilobyte_line(const std::string& text, const std::string& name) {
  const size_t at = ("\n" + text).find("\n" + name + ":");
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + name.size() + 1, nullptr, 10) * 1024;
}

// Files of /proc have no size, so they cannot be mapped.
std::string read_proc(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A limit or usage of the control group (version 2); nullopt: none.
std::optional<uint64_t> control_group_value(const char* path) {
  const std::string text = read_proc(path);
  if (text.empty() || text.starts_with("max")) return std::nullopt;
  return std::strtoull(text.c_str(), nullptr, 10);
}

}  // namespace

ResidentMemory resident_memory() {
  const std::string status = read_proc("/proc/self/status");
  return {.anonymous_bytes = kilobyte_line(status, "RssAnon"),
          .shared_bytes = kilobyte_line(status, "RssShmem"),
          .file_bytes = kilobyte_line(status, "RssFile")};
}

uint64_t available_memory_bytes() {
  uint64_t available = kilobyte_line(read_proc("/proc/meminfo"), "MemAvailable");
  const auto limit = control_group_value("/sys/fs/cgroup/memory.max");
  const auto used = control_group_value("/sys/fs/cgroup/memory.current");
  if (limit && used) available = std::min(available, *limit > *used ? *limit - *used : 0);
  return available;
}

PeakMemory::PeakMemory()
    : sampler_([this](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any stopped;
        std::unique_lock lock(mutex);
        while (!stop.stop_requested()) {
          sample();
          stopped.wait_for(lock, stop, kSamplePeriod, [] { return false; });
        }
      }) {}

void PeakMemory::sample() {
  const uint64_t now = resident_memory().private_bytes();
  uint64_t peak = peak_.load();
  while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
  }
}

uint64_t PeakMemory::peak_bytes() {
  sample();
  return peak_.load();
}

}  // namespace qround
