#include "quant/output_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/shard_writer.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;

void check(const std::error_code& code, std::string_view action, const fs::path& path) {
  if (!code) return;
  errno = code.value();
  throw system_error(action, path);
}

// Whether `inner` is `outer` or lies below it; both canonical.
bool lies_in(const fs::path& inner, const fs::path& outer) {
  const auto [in, out] = std::mismatch(inner.begin(), inner.end(), outer.begin(), outer.end());
  return out == outer.end();
}

// A run that did not finish left its folder of partial shards. One that ended while it checked what
// it had published left its index as well; then the folder holds the journal.
bool is_unfinished_run(const fs::path& path) {
  std::error_code ignored;
  const fs::path partial = path / ShardWriter::kPartialFolder;
  return fs::is_directory(partial, ignored) &&
         (!fs::exists(path / kIndexFileName, ignored) || !fs::is_empty(partial, ignored));
}

void remove_contents(const fs::path& path, bool (*wanted)(const std::string& name)) {
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, code)) {
    std::error_code failure;
    if (wanted(entry.path().filename().string())) fs::remove_all(entry.path(), failure);
    if (!code) code = failure;
  }
  check(code, "remove files of an unfinished run", path);
}

// Nothing but what a run puts down itself: whatever else lies there is somebody's.
bool is_left_by_a_run(const std::string& name) {
  return name == ShardWriter::kPartialFolder || name == kIndexFileName ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

bool is_anything(const std::string&) { return true; }

}  // namespace

void check_output_directory(const fs::path& source, const fs::path& output) {
  std::error_code code;
  const fs::path canonical_source = fs::weakly_canonical(source, code);
  const fs::path canonical_output = fs::weakly_canonical(output, code);
  if (lies_in(canonical_output, canonical_source) || lies_in(canonical_source, canonical_output)) {
    throw Error("source and output directories overlap")
        .file(output)
        .expected("a directory apart from " + source.string());
  }
  if (!fs::exists(output, code)) return;
  if (!fs::is_directory(output, code)) throw Error("the output is not a directory").file(output);
  const bool empty = fs::is_empty(output, code);
  check(code, "read a directory", output);
  if (empty || is_unfinished_run(output)) return;
  throw Error("the output directory is not empty")
      .file(output)
      .hint("choose another directory or empty this one");
}

uint64_t bytes_of_unfinished_job(const fs::path& output) {
  uint64_t bytes = 0;
  std::error_code code;
  if (output.empty() || !is_unfinished_run(output)) return 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(output, code)) {
    struct stat status{};
    if (::stat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
      bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

OutputDirectory::OutputDirectory(const fs::path& source, const fs::path& output, Contents contents)
    : path_(output) {
  check_output_directory(source, output);
  std::error_code code;
  created_ = fs::create_directories(path_, code);
  check(code, "create a directory", path_);
  was_empty_ = created_ || fs::is_empty(path_, code);
  if (!was_empty_ && contents == Contents::cleared) remove_contents(path_, is_left_by_a_run);
}

OutputDirectory::~OutputDirectory() {
  if (kept_) return;
  try {
    remove_contents(path_, was_empty_ ? is_anything : is_left_by_a_run);
  } catch (const Error&) {  // another failure is under way already
  }
  std::error_code ignored;
  if (created_) fs::remove(path_, ignored);
}

}  // namespace qround::quant
