#include "stream/journal.h"

#include <fmt/format.h>

#include <charconv>

#include "base/crc32.h"
#include "base/error.h"

namespace qround {
namespace {

constexpr size_t kChecksumDigits = 8;

std::string line_of(const Json& record) {
  const std::string text = record.dump();
  return fmt::format("{:08x} {}\n", crc32(text), text);
}

// The text of a line whose checksum is right.
std::optional<std::string_view> checked_text(std::string_view line) {
  if (line.size() <= kChecksumDigits || line[kChecksumDigits] != ' ') return std::nullopt;
  uint32_t checksum = 0;
  const auto [end, code] =
      std::from_chars(line.data(), line.data() + kChecksumDigits, checksum, 16);
  const std::string_view text = line.substr(kChecksumDigits + 1);
  if (code != std::errc() || end != line.data() + kChecksumDigits || checksum != crc32(text))
    return std::nullopt;
  return text;
}

struct Line {
  std::string_view text;  // of the record; empty: damaged or torn
  size_t end = 0;         // where the next line begins
};

std::vector<Line> lines_of(std::string_view contents) {
  std::vector<Line> lines;
  for (size_t begin = 0; begin < contents.size();) {
    const size_t newline = contents.find('\n', begin);
    const bool whole = newline != std::string_view::npos;
    const size_t end = whole ? newline + 1 : contents.size();
    std::optional<std::string_view> text;
    if (whole) text = checked_text(contents.substr(begin, newline - begin));
    lines.push_back({text.value_or(std::string_view()), end});
    begin = end;
  }
  return lines;
}

}  // namespace

Journal Journal::create(const std::filesystem::path& path, const Json& header) {
  write_file_atomically(path, line_of(header));
  return Journal(OutputFile::reopen(path));
}

std::optional<std::vector<Json>> Journal::read(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const std::string contents = read_file(path);
  std::vector<Json> records;
  const std::vector<Line> lines = lines_of(contents);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].text.empty()) {
      if (i + 1 == lines.size()) break;
      throw Error("the journal of an unfinished job is damaged")
          .file(path)
          .actual(fmt::format("line {} does not have its checksum", i + 1))
          .hint("start over with --restart");
    }
    records.push_back(Json::parse(lines[i].text, path));
  }
  if (records.empty()) return std::nullopt;
  return records;
}

Journal Journal::resume(const std::filesystem::path& path, size_t n_records) {
  uint64_t end = 0;
  {
    const std::string contents = read_file(path);
    const std::vector<Line> lines = lines_of(contents);
    end = lines.at(n_records - 1).end;
  }
  Journal journal(OutputFile::reopen(path));
  journal.file_.truncate(end);
  return journal;
}

void Journal::append(const Json& record) {
  file_.append(line_of(record));
  file_.sync();
}

}  // namespace qround
