// Whole files, read-only mappings, and writes that survive a kill.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace qround {

// The whole file as bytes. Throws Error naming the path.
std::string read_file(const std::filesystem::path& path);

// Makes `path` hold `contents`, all or nothing: temporary file beside it, fsync, rename, fsync of
// the directory. A kill at any instant leaves the old file or the new one.
void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

// Makes names created, renamed or removed in `directory` durable.
void sync_directory(const std::filesystem::path& directory);

// A file mapped read-only for the lifetime of the object. Movable; not copyable.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(
      const std::filesystem::path& path);  // throws Error; an empty file maps to no bytes
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

  // Hints to the kernel; ranges are clipped to the file. They change speed, never results.
  void prefetch(size_t offset, size_t length) const;  // will be read soon
  void release(size_t offset, size_t length) const;   // drop these pages from this process

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A file written front to back (or patched with write_at). Unless closed it is left as it lies.
class OutputFile {
 public:
  OutputFile() = default;
  explicit OutputFile(const std::filesystem::path& path);  // creates or truncates
  // An existing file as it lies, to be continued. Throws Error when it is not there.
  static OutputFile reopen(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text);
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  void truncate(uint64_t size);  // drops everything from there on; `size` is at most size()
  void sync();                   // fsync
  void close();                  // sync, then close; throws where the destructor could not
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace qround
