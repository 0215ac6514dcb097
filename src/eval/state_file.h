// Values kept in one file between runs: a killed job finds what it had, or nothing.
//
//   file := magic, key, value*, CRC-32 of all before it as 4 bytes
//   key and every array := 8 bytes number of elements, elements as they lie in memory
//
// The file is for the machine that wrote it: numbers are in its byte order.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/file.h"

namespace qround::eval {

// Written beside `path` and renamed over it by finish(): a kill leaves the old file or the new one.
class StateWriter {
 public:
  StateWriter(const std::filesystem::path& path, std::string_view key);

  template <typename T>
  void put(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(values.size(), std::as_bytes(values));
  }
  template <typename T>
  void put(const std::vector<T>& values) {
    put(std::span<const T>(values));
  }
  void put_number(int64_t value) { put(std::span<const int64_t>(&value, 1)); }
  void finish();

 private:
  void put_bytes(uint64_t count, std::span<const std::byte> bytes);
  void append(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  OutputFile file_;
  uint32_t checksum_ = 0;
};

class StateReader {
 public:
  // nullopt: no file, another key, or a file that is damaged.
  static std::optional<StateReader> open(const std::filesystem::path& path, std::string_view key);

  // In the order they were put. Throws Error when the file holds something else, which a file with
  // the right key and checksum does not.
  template <typename T>
  void get(std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::span<const std::byte> bytes = next(sizeof(T));
    values.resize(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
  }
  int64_t get_number();

 private:
  explicit StateReader(MappedFile file) : file_(std::move(file)) {}
  std::span<const std::byte> next(size_t element_bytes);

  MappedFile file_;
  size_t place_ = 0;
};

}  // namespace qround::eval
