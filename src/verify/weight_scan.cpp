#include "verify/weight_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "model/stored_parameter.h"

namespace qround::verify {
namespace {

constexpr std::string_view kSuffixes[] = {".qweight", ".qzeros", ".scales", ".g_idx"};

// Small enough that the pages of a piece do not matter, large enough to keep the disk busy.
constexpr uint64_t kPieceBytes = uint64_t{8} << 20;
// How far ahead of the work the disk reads.
constexpr uint64_t kAheadBytes = uint64_t{96} << 20;

// A range of a tensor's bytes.
struct Piece {
  const Checkpoint* checkpoint = nullptr;
  TensorEntry entry;  // its range is the piece's
  const std::byte* data = nullptr;

  void prefetch() const { checkpoint->files()[entry.file_idx].prefetch(entry); }
  void release() const { checkpoint->files()[entry.file_idx].release(entry); }
};

// A linear, or a piece of any other tensor.
struct Task {
  std::vector<Piece> pieces;          // of the checkpoint: what it reads
  std::optional<Piece> there;         // of the source
  const Parameter* linear = nullptr;  // null: one piece of a kept tensor
  uint64_t offset = 0;                // of the piece in its tensor
  size_t result = 0;                  // index into linears or kept

  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const Piece& piece : pieces) sum += piece.entry.bytes();
    return sum;
  }
};

Piece whole(const Checkpoint& checkpoint, const TensorEntry& entry) {
  return {&checkpoint, entry, checkpoint.view(entry).data};
}

Piece part(const Piece& piece, uint64_t offset) {
  Piece result = piece;
  result.data += offset;
  result.entry.begin += offset;
  result.entry.end = std::min(result.entry.begin + kPieceBytes, piece.entry.end);
  return result;
}

// The source's bytes of a weight: of its own tensor or inside that of all experts.
std::optional<Piece> source_piece(const Checkpoint& source, const Parameter& p) {
  StoredParameter stored;
  try {
    stored = find_stored(source, p);
  } catch (const Error&) {
    return std::nullopt;
  }
  const auto* view = std::get_if<TensorView>(&stored);
  if (view == nullptr) return std::nullopt;
  const bool own = source.find(p.tensor) != nullptr;
  const TensorEntry& entry = source.at(own ? p.tensor : p.fused_tensor);
  Piece piece{&source, entry, view->data};
  piece.entry.begin += static_cast<uint64_t>(view->data - source.view(entry).data);
  piece.entry.end = piece.entry.begin + view->bytes();
  return piece;
}

class TaskList {
 public:
  explicit TaskList(const Subject& subject) : subject_(subject) {
    add_linears();
    add_kept();
    std::sort(tasks_.begin(), tasks_.end(), [](const Task& a, const Task& b) {
      const TensorEntry &x = a.pieces.front().entry, &y = b.pieces.front().entry;
      return std::pair(x.file_idx, x.begin) < std::pair(y.file_idx, y.begin);
    });
  }

  std::vector<Task>& tasks() { return tasks_; }
  size_t n_linears() const { return n_linears_; }
  size_t n_kept() const { return n_kept_; }

 private:
  void add_linears() {
    for (const StoredForm& stored : subject_.forms) {
      if (stored.form != Form::int4) continue;
      Task task{.pieces = {}, .there = {}, .linear = stored.parameter, .result = n_linears_++};
      for (const std::string_view suffix : kSuffixes) {
        const std::string name = stored.parameter->module + std::string(suffix);
        const TensorEntry* entry = subject_.checkpoint.find(name);
        if (entry == nullptr) continue;
        of_linears_.push_back(entry);
        task.pieces.push_back(whole(subject_.checkpoint, *entry));
      }
      if (subject_.source != nullptr) task.there = source_piece(*subject_.source, *task.linear);
      tasks_.push_back(std::move(task));
    }
    std::sort(of_linears_.begin(), of_linears_.end());
  }

  void add_kept() {
    for (const TensorEntry& entry : subject_.checkpoint.tensors()) {
      if (std::binary_search(of_linears_.begin(), of_linears_.end(), &entry)) continue;
      const Piece here = whole(subject_.checkpoint, entry);
      const std::optional<Piece> there = kept_source(entry);
      for (uint64_t offset = 0; offset < entry.bytes(); offset += kPieceBytes) {
        Task task{
            .pieces = {part(here, offset)}, .there = {}, .offset = offset, .result = n_kept_++};
        if (there) task.there = part(*there, offset);
        tasks_.push_back(std::move(task));
      }
    }
  }

  // The bytes that the tensor has to equal; nullopt: none, or of another type, which other rules
  // report.
  std::optional<Piece> kept_source(const TensorEntry& entry) const {
    if (subject_.source == nullptr) return std::nullopt;
    std::optional<Piece> piece;
    if (const TensorEntry* there = subject_.source->find(entry.name)) {
      piece = whole(*subject_.source, *there);
      if (there->shape != entry.shape) return std::nullopt;
    } else if (const Parameter* p = subject_.table.find_tensor(entry.name)) {
      piece = source_piece(*subject_.source, *p);
    }
    if (!piece || piece->entry.dtype != entry.dtype || piece->entry.bytes() != entry.bytes())
      return std::nullopt;
    return piece;
  }

  const Subject& subject_;
  std::vector<Task> tasks_;
  std::vector<const TensorEntry*> of_linears_;  // sorted by address
  size_t n_linears_ = 0, n_kept_ = 0;
};

// Index of the first 16-bit word whose exponent bits are all ones, or -1.
int64_t first_not_finite(const uint16_t* words, int64_t count, uint32_t exponent) {
  uint32_t any = 0;
  for (int64_t i = 0; i < count; ++i) any |= (words[i] & exponent) == exponent;
  if (any == 0) return -1;
  const auto* bad = std::find_if(words, words + count,
                                 [&](uint16_t word) { return (word & exponent) == exponent; });
  return bad - words;
}

int64_t first_not_finite(const uint32_t* words, int64_t count) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t any = 0;
  for (int64_t i = 0; i < count; ++i) any |= (words[i] & kExponent) == kExponent;
  if (any == 0) return -1;
  const auto* bad = std::find_if(words, words + count,
                                 [](uint32_t word) { return (word & kExponent) == kExponent; });
  return bad - words;
}

std::optional<Finding> check_finite(const Piece& piece, uint64_t offset) {
  const auto bytes = static_cast<int64_t>(piece.entry.bytes());
  const auto* words = reinterpret_cast<const uint16_t*>(piece.data);
  int64_t bad = -1;
  uint64_t element_bytes = 2;
  if (piece.entry.dtype == DType::bf16) {
    bad = first_not_finite(words, bytes / 2, 0x7F80);
  } else if (piece.entry.dtype == DType::f16) {
    bad = first_not_finite(words, bytes / 2, 0x7C00);
  } else if (piece.entry.dtype == DType::f32) {
    bad = first_not_finite(reinterpret_cast<const uint32_t*>(piece.data), bytes / 4);
    element_bytes = 4;
  }
  if (bad < 0) return std::nullopt;
  return Finding{
      piece.entry.name,
      fmt::format("element {} is not finite", static_cast<uint64_t>(bad) + offset / element_bytes),
      "a number", "infinite or not a number"};
}

std::optional<Finding> check_identical(const Piece& here, const Piece& there, uint64_t offset) {
  const uint64_t n_bytes = here.entry.bytes();
  if (std::memcmp(here.data, there.data, n_bytes) == 0) return std::nullopt;
  const auto at = std::mismatch(here.data, here.data + n_bytes, there.data).first - here.data;
  return Finding{
      here.entry.name,
      fmt::format("a kept tensor differs at byte {}", offset + static_cast<uint64_t>(at)),
      fmt::format("0x{:02x}", std::to_integer<unsigned>(there.data[at])),
      fmt::format("0x{:02x}", std::to_integer<unsigned>(here.data[at]))};
}

void run_task(const Subject& subject, const Task& task, WeightScan& scan) {
  if (task.linear != nullptr) {
    scan.linears[task.result] = scan_linear(subject, *task.linear);
  } else {
    KeptScan& kept = scan.kept[task.result];
    // What the source has, numbers or not, is right.
    if (task.there) {
      kept.identical = check_identical(task.pieces.front(), *task.there, task.offset);
    } else {
      kept.finite = check_finite(task.pieces.front(), task.offset);
    }
  }
  for (const Piece& piece : task.pieces) piece.release();
  if (task.there) task.there->release();
}

// For each task, one past the last that lies within kAheadBytes of it.
std::vector<size_t> reach(const std::vector<Task>& tasks) {
  std::vector<size_t> ends(tasks.size());
  uint64_t ahead = 0;
  size_t end = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    while (end < tasks.size() && (end <= i || ahead < kAheadBytes)) ahead += tasks[end++].bytes();
    ends[i] = end;
    ahead -= tasks[i].bytes();
  }
  return ends;
}

void prefetch(const Task& task) {
  for (const Piece& piece : task.pieces) piece.prefetch();
  if (task.there) task.there->prefetch();
}

}  // namespace

WeightScan scan_weights(const Subject& subject) {
  TaskList list(subject);
  const std::vector<Task>& tasks = list.tasks();
  WeightScan scan;
  scan.linears.resize(list.n_linears());
  scan.kept.resize(list.n_kept());
  scan.bytes = subject.checkpoint.total_bytes();
  const std::vector<size_t> ends = reach(tasks);
  parallel_for(subject.threads, tasks.size(), [&](size_t index, int) {
    subject.check_stop();
    // Tasks are handed out in order, so together they ask for every range once.
    for (size_t next = index == 0 ? 0 : ends[index - 1]; next < ends[index]; ++next)
      prefetch(tasks[next]);
    run_task(subject, tasks[index], scan);
    subject.progress.advance(tasks[index].bytes());
  });
  return scan;
}

}  // namespace qround::verify
