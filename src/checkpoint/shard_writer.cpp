#include "checkpoint/shard_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/problem_list.h"
#include "checkpoint/checkpoint.h"

namespace qround {
namespace {

namespace fs = std::filesystem;

// std::filesystem's failures as ours.
void check(const std::error_code& code, std::string_view action, const fs::path& path) {
  if (!code) return;
  errno = code.value();
  throw system_error(action, path);
}

void remove_folder(const fs::path& path) {
  std::error_code code;
  fs::remove_all(path, code);
  check(code, "remove what an earlier run left", path);
}

void create_folder(const fs::path& path) {
  std::error_code code;
  fs::create_directories(path, code);
  check(code, "create a directory", path);
}

void rename_file(const fs::path& from, const fs::path& to, std::string_view action) {
  if (std::rename(from.c_str(), to.c_str()) != 0) throw system_error(action, to);
}

}  // namespace

Json ShardPlan::index() const {
  std::map<std::string, std::string> file_of;  // sorted, as other writers sort it
  for (const PlannedShard& shard : shards) {
    for (const TensorEntry& entry : shard.layout.entries) {
      file_of.emplace(entry.name, shard.file_name);
    }
  }
  JsonObject weight_map;
  for (const auto& [name, file] : file_of) weight_map.set(name, file);
  return Json::object(
      {{"metadata", Json::object({{"total_size", tensor_bytes}})}, {"weight_map", weight_map}});
}

ShardPlan plan_shards(const std::vector<TensorSpec>& tensors, const ShardOptions& options) {
  if (tensors.empty()) throw Error("a checkpoint without tensors cannot be written");
  check_tensor_names(tensors);
  std::vector<std::vector<TensorSpec>> groups(1);
  uint64_t group_bytes = 0;
  for (const TensorSpec& tensor : tensors) {
    if (!groups.back().empty() && group_bytes + tensor.bytes() > options.max_shard_bytes) {
      groups.emplace_back();
      group_bytes = 0;
    }
    groups.back().push_back(tensor);
    group_bytes += tensor.bytes();
  }
  ShardPlan plan;
  for (const std::vector<TensorSpec>& group : groups) {
    PlannedShard shard;
    shard.file_name =
        fmt::format("model-{:05}-of-{:05}.safetensors", plan.shards.size() + 1, groups.size());
    shard.layout = lay_out_safetensors(group, options.metadata);
    plan.tensor_bytes += shard.layout.file_bytes - shard.layout.header.size();
    plan.file_bytes += shard.layout.file_bytes;
    plan.shards.push_back(std::move(shard));
  }
  return plan;
}

ShardWriter::ShardWriter(fs::path output, ShardPlan plan, Start start)
    : output_(std::move(output)),
      partial_(output_ / kPartialFolder),
      start_(start),
      plan_(std::move(plan)),
      files_(plan_.shards.size()) {
  for (size_t shard_idx = 0; shard_idx < plan_.shards.size(); ++shard_idx) {
    const std::vector<TensorEntry>& entries = plan_.shards[shard_idx].layout.entries;
    for (size_t tensor_idx = 0; tensor_idx < entries.size(); ++tensor_idx) {
      position_of_.emplace(entries[tensor_idx].name, Position{shard_idx, tensor_idx});
    }
    const auto n_empty = std::count_if(entries.begin(), entries.end(),
                                       [](const TensorEntry& entry) { return entry.bytes() == 0; });
    states_.push_back({.written_bytes = std::vector<uint64_t>(entries.size()),
                       .n_complete = static_cast<size_t>(n_empty)});
  }
  std::error_code ignored;
  if (fs::exists(output_ / kIndexFileName, ignored)) {
    throw Error("the output directory holds a checkpoint already")
        .file(output_ / kIndexFileName)
        .hint("choose another directory or remove this one");
  }
  if (start_ == Start::empty) remove_folder(partial_);
  create_folder(partial_);
  if (start_ == Start::continued) take_back_published();
}

// A run that was killed while it published left shards on both sides.
void ShardWriter::take_back_published() {
  for (const PlannedShard& shard : plan_.shards) {
    std::error_code ignored;
    const fs::path published = output_ / shard.file_name;
    if (fs::exists(published, ignored))
      rename_file(published, partial_ / shard.file_name, "take back a published file");
  }
}

void ShardWriter::adopt(std::string_view name) {
  const auto [shard_idx, tensor_idx] = position_of(name);
  const uint64_t n_bytes = plan_.shards[shard_idx].layout.entries[tensor_idx].bytes();
  ShardState& state = states_[shard_idx];
  if (n_bytes == 0) return;
  state.written_bytes[tensor_idx] = n_bytes;
  written_bytes_ += n_bytes;
  ++state.n_complete;
  state.finished = state.n_complete == state.written_bytes.size();
}

ShardWriter::Position ShardWriter::position_of(std::string_view name) const {
  const auto found = position_of_.find(name);
  if (found == position_of_.end()) {
    throw Error("the tensor was not planned").file(output_).tensor(name);
  }
  return found->second;
}

void ShardWriter::write(std::string_view name, const TensorView& tensor) {
  const Position position = position_of(name);
  const TensorEntry& entry = plan_.shards[position.shard_idx].layout.entries[position.tensor_idx];
  if (entry.dtype != tensor.dtype || entry.shape != tensor.shape) {
    throw Error("the tensor is not the planned one")
        .file(output_)
        .tensor(name)
        .expected(fmt::format("{} {}", dtype_name(entry.dtype), shape_text(entry.shape)))
        .actual(fmt::format("{} {}", dtype_name(tensor.dtype), shape_text(tensor.shape)));
  }
  append(name, {tensor.data, tensor.bytes()});
}

void ShardWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  const auto [shard_idx, tensor_idx] = position_of(name);
  const TensorEntry& entry = plan_.shards[shard_idx].layout.entries[tensor_idx];
  ShardState& state = states_[shard_idx];
  uint64_t& written = state.written_bytes[tensor_idx];
  if (bytes.empty()) return;
  if (written + bytes.size() > entry.bytes()) {
    throw Error("more bytes than planned for the tensor")
        .file(output_)
        .tensor(name)
        .expected(fmt::format("{} bytes", entry.bytes()))
        .actual(fmt::format("{} bytes", written + bytes.size()));
  }
  open_shard(shard_idx).write_at(entry.begin + written, bytes);
  written += bytes.size();
  written_bytes_ += bytes.size();
  if (written == entry.bytes()) ++state.n_complete;
  if (state.n_complete == state.written_bytes.size()) close_shard(shard_idx);
}

void ShardWriter::sync() {
  for (std::optional<OutputFile>& file : files_) {
    if (file) file->sync();
  }
  sync_directory(partial_);
}

void ShardWriter::finish() {
  check_complete();
  for (size_t shard_idx = 0; shard_idx < states_.size(); ++shard_idx) {
    if (!states_[shard_idx].finished) close_shard(shard_idx);  // a shard of empty tensors only
  }
  for (const PlannedShard& shard : plan_.shards) {
    rename_file(partial_ / shard.file_name, output_ / shard.file_name,
                "rename a file to its final name");
  }
  sync_directory(output_);
  write_file_atomically(output_ / kIndexFileName, plan_.index().dump({.indent = 2}) + "\n");
  std::error_code ignored;  // a folder left behind harms nobody; others may keep files in it
  fs::remove(partial_, ignored);
}

OutputFile& ShardWriter::open_shard(size_t shard_idx) {
  std::optional<OutputFile>& file = files_[shard_idx];
  if (!file) {
    const PlannedShard& shard = plan_.shards[shard_idx];
    const fs::path path = partial_ / shard.file_name;
    std::error_code ignored;
    const bool continued = start_ == Start::continued && fs::exists(path, ignored);
    file = continued ? OutputFile::reopen(path) : OutputFile(path);
    // Again in a continued file: the run before may have ended before it was on the disk.
    file->write_at(0, std::as_bytes(std::span(shard.layout.header)));
  }
  return *file;
}

void ShardWriter::close_shard(size_t shard_idx) {
  open_shard(shard_idx).close();
  files_[shard_idx].reset();
  states_[shard_idx].finished = true;
}

void ShardWriter::check_complete() const {
  ProblemList problems;
  for (size_t shard_idx = 0; shard_idx < states_.size(); ++shard_idx) {
    const std::vector<TensorEntry>& entries = plan_.shards[shard_idx].layout.entries;
    for (size_t tensor_idx = 0; tensor_idx < entries.size(); ++tensor_idx) {
      const uint64_t written = states_[shard_idx].written_bytes[tensor_idx];
      if (written == entries[tensor_idx].bytes()) continue;
      problems.add(Error("the planned tensor was not written whole")
                       .tensor(entries[tensor_idx].name)
                       .expected(fmt::format("{} bytes", entries[tensor_idx].bytes()))
                       .actual(fmt::format("{} bytes", written)));
    }
  }
  problems.throw_if_any("the checkpoint is not complete");
}

}  // namespace qround
