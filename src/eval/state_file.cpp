#include "eval/state_file.h"

#include "base/crc32.h"
#include "base/error.h"

namespace qround::eval {
namespace {

constexpr std::string_view kMagic = "qround eval state 1\n";
constexpr size_t kChecksumBytes = sizeof(uint32_t);

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::filesystem::path temporary(const std::filesystem::path& path) {
  return path.string() + ".new";
}

}  // namespace

StateWriter::StateWriter(const std::filesystem::path& path, std::string_view key)
    : path_(path), file_(temporary(path)) {
  append(bytes_of(kMagic));
  put(std::span<const char>(key.data(), key.size()));
}

void StateWriter::append(std::span<const std::byte> bytes) {
  checksum_ = crc32(bytes, checksum_);
  file_.append(bytes);
}

void StateWriter::put_bytes(uint64_t count, std::span<const std::byte> bytes) {
  append(std::as_bytes(std::span(&count, 1)));
  append(bytes);
}

void StateWriter::finish() {
  file_.append(std::as_bytes(std::span(&checksum_, 1)));
  file_.close();
  std::filesystem::rename(temporary(path_), path_);
  sync_directory(std::filesystem::absolute(path_).parent_path());
}

std::optional<StateReader> StateReader::open(const std::filesystem::path& path,
                                             std::string_view key) {
  if (!std::filesystem::is_regular_file(path)) return std::nullopt;
  StateReader reader{MappedFile(path)};
  const std::span<const std::byte> all = reader.file_.bytes();
  if (all.size() < kMagic.size() + kChecksumBytes) return std::nullopt;
  const std::span<const std::byte> body = all.first(all.size() - kChecksumBytes);
  uint32_t stored = 0;
  std::memcpy(&stored, body.data() + body.size(), kChecksumBytes);
  if (crc32(body) != stored || std::memcmp(body.data(), kMagic.data(), kMagic.size()) != 0)
    return std::nullopt;
  reader.place_ = kMagic.size();
  std::vector<char> stored_key;
  reader.get(stored_key);
  if (std::string_view(stored_key.data(), stored_key.size()) != key) return std::nullopt;
  return reader;
}

std::span<const std::byte> StateReader::next(size_t element_bytes) {
  const std::span<const std::byte> all = file_.bytes();
  const Error damaged = Error("the state of an earlier run cannot be read")
                            .file(file_.path())
                            .hint("delete it; the work is then done again");
  uint64_t count = 0;
  if (all.size() - place_ < sizeof(count)) throw damaged;
  std::memcpy(&count, all.data() + place_, sizeof(count));
  place_ += sizeof(count);
  if (count > (all.size() - place_) / element_bytes) throw damaged;
  const auto bytes = all.subspan(place_, count * element_bytes);
  place_ += bytes.size();
  return bytes;
}

int64_t StateReader::get_number() {
  std::vector<int64_t> values;
  get(values);
  return values.at(0);
}

}  // namespace qround::eval
