#include "checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

#include "base/error.h"
#include "base/json.h"
#include "base/problem_list.h"

namespace qround {
namespace {

constexpr uint64_t kLengthBytes = 8;             // the header's length, little-endian
constexpr uint64_t kMaxHeaderBytes = 100000000;  // the reference reader's limit
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kDamaged = "the file is damaged; download it again";

static_assert(std::endian::native == std::endian::little, "tensors are mapped as they lie");

std::string bytes_text(uint64_t bytes) { return fmt::format("{} bytes", bytes); }

std::string_view header_text(std::span<const std::byte> file_bytes) {
  if (file_bytes.size() < kLengthBytes) {
    throw Error("file is too short for a safetensors header")
        .expected("at least 8 bytes")
        .actual(bytes_text(file_bytes.size()))
        .hint(kDamaged);
  }
  uint64_t length = 0;
  std::memcpy(&length, file_bytes.data(), sizeof length);
  if (length > kMaxHeaderBytes) {
    throw Error("safetensors header is too long")
        .expected(fmt::format("at most {}", bytes_text(kMaxHeaderBytes)))
        .actual(bytes_text(length))
        .hint("the file is damaged or no safetensors file");
  }
  if (length > file_bytes.size() - kLengthBytes) {
    throw Error("file ends inside its safetensors header")
        .expected(bytes_text(kLengthBytes + length))
        .actual(bytes_text(file_bytes.size()))
        .hint(kDamaged);
  }
  const std::string_view text(reinterpret_cast<const char*>(file_bytes.data()) + kLengthBytes,
                              length);
  if (!text.starts_with('{')) {
    throw Error("safetensors header is no JSON object")
        .hint("the file is damaged or no safetensors file");
  }
  return text;
}

uint64_t non_negative(const Json& value, std::string_view what) {
  if (!value.is_int() || value.as_int() < 0) {
    throw Error(fmt::format("{} is no integer of at least 0", what)).actual(value.dump());
  }
  return static_cast<uint64_t>(value.as_int());
}

DType parse_dtype(const Json& value) {
  const std::string& name = value.as_string();
  const auto dtype = dtype_from_name(name);
  if (!dtype) throw Error("unknown dtype").actual(name);
  return *dtype;
}

uint64_t byte_size(DType dtype, const Shape& shape) {
  uint64_t bytes = dtype_bytes(dtype);
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) {
      throw Error("shape overflows 64 bits").actual(shape_text(shape));
    }
  }
  return bytes;
}

TensorEntry parse_entry(const std::string& name, const Json& fields, uint64_t data_begin) {
  TensorEntry entry;
  entry.name = name;
  entry.dtype = parse_dtype(fields.at("dtype"));
  for (const Json& extent : fields.at("shape").as_array()) {
    entry.shape.push_back(static_cast<int64_t>(non_negative(extent, "extent of the shape")));
  }
  const Json::Array& offsets = fields.at("data_offsets").as_array();
  if (offsets.size() != 2) {
    throw Error("data_offsets has not two elements").actual(fields.at("data_offsets").dump());
  }
  // Each is below 2^63 and data_begin below 2^27, so the sums cannot overflow.
  entry.begin = data_begin + non_negative(offsets[0], "data offset");
  entry.end = data_begin + non_negative(offsets[1], "data offset");
  if (entry.begin > entry.end) {
    throw Error("data offsets run backwards").actual(fields.at("data_offsets").dump());
  }
  const uint64_t expected_bytes = byte_size(entry.dtype, entry.shape);
  if (entry.bytes() != expected_bytes) {
    throw Error("data has not the size of its dtype and shape")
        .expected(fmt::format("{} for {} {}", bytes_text(expected_bytes), dtype_name(entry.dtype),
                              shape_text(entry.shape)))
        .actual(bytes_text(entry.bytes()));
  }
  return entry;
}

void parse_metadata(const Json& members, SafetensorsHeader& header) {
  for (const auto& [key, value] : members.as_object()) {
    if (!value.is_string()) {
      throw Error(fmt::format("metadata \"{}\" is no string", key)).actual(value.dump());
    }
    header.metadata.emplace_back(key, value.as_string());
  }
}

void parse_member(const std::string& name, const Json& value, SafetensorsHeader& header) {
  if (name == kMetadataKey) return parse_metadata(value, header);
  try {
    header.entries.push_back(parse_entry(name, value, header.data_begin));
  } catch (Error& error) {
    throw error.tensor(name);
  }
}

// Sorts the entries by offset and checks that their data fills the rest of the file.
void check_layout(SafetensorsHeader& header, uint64_t file_size) {
  std::sort(header.entries.begin(), header.entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) {
              return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
            });
  uint64_t position = header.data_begin;
  for (const TensorEntry& entry : header.entries) {
    if (entry.begin != position) {
      throw Error(entry.begin < position ? "data overlaps the tensor before it"
                                         : "gap before the data of a tensor")
          .tensor(entry.name)
          .expected(fmt::format("data at byte {}", position))
          .actual(fmt::format("byte {}", entry.begin));
    }
    position = entry.end;
  }
  if (position == file_size) return;
  const auto outside =
      std::find_if(header.entries.begin(), header.entries.end(),
                   [&](const TensorEntry& entry) { return entry.end > file_size; });
  Error error(position > file_size ? "file is truncated" : "file goes on after its last tensor");
  if (outside != header.entries.end()) error.tensor(outside->name);
  throw error.expected(bytes_text(position)).actual(bytes_text(file_size)).hint(kDamaged);
}

SafetensorsHeader parse_checked(std::span<const std::byte> file_bytes) {
  const std::string_view text = header_text(file_bytes);
  const Json json = Json::parse_unique_keys(text);
  SafetensorsHeader header;
  header.data_begin = kLengthBytes + text.size();
  header.entries.reserve(json.as_object().size());
  ProblemList problems;
  for (const JsonObject::Member& member : json.as_object()) {
    problems.attempt([&] { parse_member(member.first, member.second, header); });
  }
  problems.throw_if_any("safetensors header is damaged");
  check_layout(header, file_bytes.size());
  return header;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file_bytes,
                                           const std::filesystem::path& path) {
  try {
    return parse_checked(file_bytes);
  } catch (Error& error) {
    throw error.file(path);
  }
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : mapping_(path), header_(parse_safetensors_header(mapping_.bytes(), path)) {
  index_of_.reserve(header_.entries.size());
  for (size_t i = 0; i < header_.entries.size(); ++i) index_of_.emplace(header_.entries[i].name, i);
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_of_.find(name);
  return found == index_of_.end() ? nullptr : &header_.entries[found->second];
}

TensorView SafetensorsFile::view(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry == nullptr) throw Error("no such tensor").file(path()).tensor(name);
  return view(*entry);
}

TensorView SafetensorsFile::view(const TensorEntry& entry) const {
  // The mapping starts on a page, so the offset alone decides.
  if (entry.begin % dtype_bytes(entry.dtype) != 0) {
    throw Error("tensor data is not aligned to its dtype")
        .file(path())
        .tensor(entry.name)
        .expected(fmt::format("an offset divisible by {}", dtype_bytes(entry.dtype)))
        .actual(fmt::format("offset {}", entry.begin))
        .hint("write the file again with a current safetensors library");
  }
  return {entry.dtype, entry.shape, mapping_.data() + entry.begin};
}

}  // namespace qround
