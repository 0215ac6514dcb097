// The append-only record of a long job, so that a killed run is continued.
//
//   file   := record*
//   record := CRC32 " " JSON "\n"     eight hexadecimal digits, of the JSON text; one line
//
// The first record is the header: what the job is. A record counts once its line is whole and its
// checksum right. A kill can only tear the last one; it is dropped, and what it told is done again.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace qround {

// Not thread-safe.
class Journal {
 public:
  // Starts one: the file appears with its header, durable, or not at all. Throws Error when it
  // cannot be written.
  static Journal create(const std::filesystem::path& path, const Json& header);

  // What an earlier run left; nothing when there is no such file or its header is torn. Throws
  // Error naming the line when one that is not the last is damaged. Nothing is changed.
  static std::optional<std::vector<Json>> read(const std::filesystem::path& path);

  // Continues one after its first `n_records` records, the header counted; later ones are cut off.
  static Journal resume(const std::filesystem::path& path, size_t n_records);

  void append(const Json& record);  // durable when it returns

 private:
  explicit Journal(OutputFile file) : file_(std::move(file)) {}

  OutputFile file_;
};

}  // namespace qround
