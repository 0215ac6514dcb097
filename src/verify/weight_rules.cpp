// Rules that stream tensor data: every byte of the checkpoint is read once, by several threads, and
// its pages are given back as soon as it is checked.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/half.h"
#include "model/stored_parameter.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

constexpr float kSmallestScale = 168 * 0x1p-24f;  // f16(1e-5)

// A finding of the n-th thing that was looked at: threads find them in any order.
class OrderedFindings {
 public:
  explicit OrderedFindings(size_t n) : of_(n) {}
  void add(size_t index, Finding finding) { of_[index] = std::move(finding); }
  void move_to(Findings& findings) {
    for (std::optional<Finding>& finding : of_) {
      if (finding) findings.add(std::move(*finding));
    }
  }

 private:
  std::vector<std::optional<Finding>> of_;
};

std::vector<const Parameter*> int4_parameters(const Subject& subject) {
  std::vector<const Parameter*> list;
  for (const StoredForm& stored : subject.forms) {
    if (stored.form == Form::int4) list.push_back(stored.parameter);
  }
  return list;
}

// A tensor that lies inside an entry, or is the whole of it.
struct Piece {
  const Checkpoint* checkpoint;
  TensorEntry entry;  // the range of this piece
  TensorView view;

  void release() const { checkpoint->files()[entry.file_idx].release(entry); }
};

Piece piece_of(const Checkpoint& checkpoint, const std::string& name, const TensorView& view) {
  const TensorEntry& whole = checkpoint.at(name);
  Piece piece{&checkpoint, whole, view};
  piece.entry.begin += static_cast<uint64_t>(view.data - checkpoint.view(whole).data);
  piece.entry.end = piece.entry.begin + view.bytes();
  return piece;
}

// The tensor in the source whose bytes `name` must have; nullopt: none.
std::optional<Piece> source_piece(const Subject& subject, const std::string& name) {
  const Checkpoint& source = *subject.source;
  if (source.find(name) != nullptr) return piece_of(source, name, source.view(name));
  const Parameter* p = subject.table.find_tensor(name);
  if (p == nullptr) return std::nullopt;
  const StoredParameter stored = find_stored(source, *p);
  const auto* view = std::get_if<TensorView>(&stored);
  if (view == nullptr) return std::nullopt;
  return piece_of(source, p->fused_tensor, *view);
}

// --- Kept tensors

// Small enough that the pages of a piece do not matter, large enough to keep the disk busy.
constexpr uint64_t kPieceBytes = uint64_t{16} << 20;

struct KeptPiece {
  std::string name;
  Piece here, there;
  uint64_t offset;  // in the tensor
};

// Pieces of the parts of both tensors that correspond.
void split_kept(const std::string& name, const Piece& here, const Piece& there,
                std::vector<KeptPiece>& pieces) {
  const uint64_t n_bytes = here.view.bytes();
  for (uint64_t offset = 0; offset < n_bytes; offset += kPieceBytes) {
    KeptPiece piece{name, here, there, offset};
    for (Piece* side : {&piece.here, &piece.there}) {
      side->view.data += offset;
      side->entry.begin += offset;
      side->entry.end = std::min(side->entry.begin + kPieceBytes, side->entry.end);
    }
    pieces.push_back(std::move(piece));
  }
}

bool is_int4_tensor(const Subject& subject, std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view suffix = name.substr(dot);
  return (suffix == ".qweight" || suffix == ".qzeros" || suffix == ".scales" ||
          suffix == ".g_idx") &&
         subject.table.find_module(name.substr(0, dot)) != nullptr;
}

bool is_of_the_network(const Subject& subject, const std::string& name) {
  const std::vector<FusedTensor>& fused = subject.table.fused_tensors();
  return subject.table.find_tensor(name) != nullptr ||
         std::any_of(fused.begin(), fused.end(),
                     [&](const FusedTensor& tensor) { return tensor.name == name; });
}

Finding type_finding(const Piece& here, const Piece& there) {
  const auto text = [](const TensorView& view) {
    return fmt::format("{} {}", dtype_name(view.dtype), shape_text(view.shape));
  };
  return {here.entry.name, "a kept tensor differs in dtype or shape", text(there.view),
          text(here.view)};
}

std::vector<KeptPiece> kept_pieces(const Subject& subject, Findings& findings) {
  std::vector<KeptPiece> pieces;
  for (const TensorEntry& entry : subject.checkpoint.tensors()) {
    if (is_int4_tensor(subject, entry.name)) continue;
    const std::optional<Piece> there = source_piece(subject, entry.name);
    if (!there) continue;  // tensor-set reports it
    const Piece here = piece_of(subject.checkpoint, entry.name, subject.checkpoint.view(entry));
    if (here.view.dtype != there->view.dtype || here.view.shape != there->view.shape) {
      if (!is_of_the_network(subject, entry.name)) findings.add(type_finding(here, *there));
      continue;  // otherwise dtypes-shapes reports it
    }
    split_kept(entry.name, here, *there, pieces);
  }
  return pieces;
}

std::optional<Finding> compare(const KeptPiece& piece) {
  const uint64_t n_bytes = piece.here.entry.bytes();
  const auto* here = reinterpret_cast<const unsigned char*>(piece.here.view.data);
  const auto* there = reinterpret_cast<const unsigned char*>(piece.there.view.data);
  if (std::memcmp(here, there, n_bytes) == 0) return std::nullopt;
  const auto at = std::mismatch(here, here + n_bytes, there).first - here;
  return Finding{piece.name, fmt::format("a kept tensor differs at byte {}", piece.offset + at),
                 fmt::format("0x{:02x}", there[at]), fmt::format("0x{:02x}", here[at])};
}

// --- Rounding

// Bounds on w / s - q.
struct RoundingBounds {
  float half_step;     // of any code
  float below, above;  // beyond the lowest and the highest code
};

// The group's extreme sets the scale, so w / s stays within +-8 but for the scale's own rounding to
// f16: 2^-11, and 2^-25 of 1e-5 among the smallest. Quotients are computed with a product, which
// costs another 2^-23 of 8.
constexpr RoundingBounds kNearest = {0.5f + 1e-5f, 0.5f + 1e-5f, 1.05f};
// A searched scale may be any, down to a 32nd of the extreme; auto-round's is rounded to f16 after
// the codes are found.
constexpr RoundingBounds kSearched = {0.5f + 8 * 0x1p-11f, 25, 26};

// Index of the first weight out of bounds, or -1. One group: codes [size], weight(k) for its k-th.
template <typename Weight>
int64_t first_out_of_bounds(const Weight& weight, const uint8_t* codes, int64_t size, float scale,
                            const RoundingBounds& bounds) {
  const float inverse = 1 / scale;
  const auto is_bad = [&](int64_t k) {
    const float distance = weight(k) * inverse - static_cast<float>(codes[k] - 8);
    const float above = codes[k] == 15 ? bounds.above : bounds.half_step;
    const float below = codes[k] == 0 ? bounds.below : bounds.half_step;
    return !(distance >= -below) | !(distance <= above);
  };
  int32_t n_bad = 0;
  for (int64_t k = 0; k < size; ++k) n_bad += is_bad(k);
  if (n_bad == 0) return -1;
  for (int64_t k = 0; k < size; ++k) {
    if (is_bad(k)) return k;
  }
  return -1;
}

// The same for the weights [first, first + size) of a matrix of any type.
int64_t first_out_of_bounds(const TensorView& weights, int64_t first, const uint8_t* codes,
                            int64_t size, float scale, const RoundingBounds& bounds) {
  const auto bf16 = [&](int64_t k) { return bf16_to_f32(weights.as<uint16_t>()[first + k]); };
  const auto f16 = [&](int64_t k) { return f16_to_f32(weights.as<uint16_t>()[first + k]); };
  const auto f32 = [&](int64_t k) { return weights.as<float>()[first + k]; };
  if (weights.dtype == DType::bf16) return first_out_of_bounds(bf16, codes, size, scale, bounds);
  if (weights.dtype == DType::f16) return first_out_of_bounds(f16, codes, size, scale, bounds);
  return first_out_of_bounds(f32, codes, size, scale, bounds);
}

struct RoundingScratch {
  std::vector<uint8_t> codes;    // [kRows, K]
  std::vector<uint16_t> scales;  // [kRows, groups]
};

constexpr int64_t kRows = 32;

Finding rounding_finding(const Parameter& p, const TensorView& weight, int64_t row, int64_t k,
                         const RoundingScratch& scratch, size_t index, float scale) {
  const int code = scratch.codes[index];
  const auto source = to_f32(weight.rows(row, row + 1));
  return {p.module,
          fmt::format("the weight at [{}, {}] is further from the source than rounding", row, k),
          fmt::format("{} within {}", source[static_cast<size_t>(k)], std::fabs(scale) / 2),
          fmt::format("{} = {} * ({} - 8)", scale * static_cast<float>(code - 8), scale, code)};
}

std::optional<Finding> check_rows(const Parameter& p, const Int4Tensors& int4,
                                  const TensorView& weight, RowRange rows,
                                  const RoundingBounds& bounds, RoundingScratch& scratch) {
  const Int4Shape& shape = int4.shape;
  unpack_codes(int4, rows, scratch.codes.data());
  unpack_scales(int4, rows, scratch.scales.data());
  const int64_t n_groups = shape.n_groups();
  for (int64_t group = 0; group < rows.count() * n_groups; ++group) {
    const float scale = f16_to_f32(scratch.scales[static_cast<size_t>(group)]);
    const int64_t first = group * shape.group_size;
    const int64_t bad =
        first_out_of_bounds(weight, rows.begin * shape.in + first, scratch.codes.data() + first,
                            shape.group_size, scale, bounds);
    if (bad < 0) continue;
    return rounding_finding(p, weight, rows.begin + group / n_groups,
                            group % n_groups * shape.group_size + bad, scratch,
                            static_cast<size_t>(first + bad), scale);
  }
  return std::nullopt;
}

std::optional<Finding> check_linear(const Subject& subject, const Parameter& p,
                                    RoundingScratch& scratch) {
  const Int4Tensors int4 = int4_tensors(subject.checkpoint, p.module, subject.int4_format());
  const StoredParameter stored = find_stored(*subject.source, p);
  const auto* weight = std::get_if<TensorView>(&stored);
  if (weight == nullptr) return Finding{p.module, "the source does not hold the weight", "", ""};
  const Int4Shape& shape = int4.shape;
  if (shape.out != p.shape[0] || shape.in != p.shape[1] || shape.in % shape.group_size != 0)
    return Finding{p.module, "the int4 tensors do not fit the source", "", ""};
  scratch.codes.resize(static_cast<size_t>(kRows * shape.in));
  scratch.scales.resize(static_cast<size_t>(kRows * shape.n_groups()));
  std::optional<Finding> finding;
  const RoundingBounds& bounds = subject.searched_scales() ? kSearched : kNearest;
  for (int64_t row = 0; row < shape.out && !finding; row += kRows) {
    const RowRange rows{row, std::min(row + kRows, shape.out)};
    finding = check_rows(p, int4, *weight, rows, bounds, scratch);
  }
  subject.checkpoint.release(subject.checkpoint.at(p.module + ".qweight"));
  const bool own = subject.source->find(p.tensor) != nullptr;
  piece_of(*subject.source, own ? p.tensor : p.fused_tensor, *weight).release();
  return finding;
}

// Calls check(index, worker) -> optional<Finding> for all, on all threads; reports the findings in
// order. An Error of a check becomes its finding.
template <typename Check>
void for_all(const Subject& subject, size_t n, Findings& findings, const Check& check) {
  OrderedFindings ordered(n);
  parallel_for(subject.threads, n, [&](size_t index, int worker) {
    subject.check_stop();
    if (std::optional<Finding> finding = check(index, static_cast<size_t>(worker)))
      ordered.add(index, std::move(*finding));
  });
  ordered.move_to(findings);
}

}  // namespace

void check_zeros(const Subject& subject, Findings& findings) {
  const std::vector<const Parameter*> linears = int4_parameters(subject);
  for_all(subject, linears.size(), findings, [&](size_t i, size_t) -> std::optional<Finding> {
    const std::string name = linears[i]->module + ".qzeros";
    const TensorEntry* entry = subject.checkpoint.find(name);
    if (entry == nullptr || entry->dtype != DType::i32) return std::nullopt;
    const TensorView view = subject.checkpoint.view(*entry);
    const auto* words = view.as<int32_t>();
    for (int64_t w = 0; w < view.count(); ++w) {
      if (words[w] == kSymmetricZeros) continue;
      return Finding{name, fmt::format("word {} is no symmetric zero point", w), "0x77777777",
                     fmt::format("0x{:08x}", static_cast<uint32_t>(words[w]))};
    }
    return std::nullopt;
  });
}

void check_scales(const Subject& subject, Findings& findings) {
  const std::vector<const Parameter*> linears = int4_parameters(subject);
  for_all(subject, linears.size(), findings, [&](size_t i, size_t) -> std::optional<Finding> {
    const std::string name = linears[i]->module + ".scales";
    const TensorEntry* entry = subject.checkpoint.find(name);
    if (entry == nullptr || entry->dtype != DType::f16) return std::nullopt;
    const TensorView view = subject.checkpoint.view(*entry);
    for (int64_t index = 0; index < view.count(); ++index) {
      const float scale = f16_to_f32(view.as<uint16_t>()[index]);
      if (std::isfinite(scale) && std::fabs(scale) >= kSmallestScale) continue;
      return Finding{name, fmt::format("scale {} is not usable", index),
                     "finite, at least 1e-5 in magnitude", fmt::format("{}", scale)};
    }
    return std::nullopt;
  });
}

void check_kept_tensors(const Subject& subject, Findings& findings) {
  const std::vector<KeptPiece> pieces = kept_pieces(subject, findings);
  for_all(subject, pieces.size(), findings, [&](size_t i, size_t) {
    const KeptPiece& piece = pieces[i];
    std::optional<Finding> finding = compare(piece);
    piece.here.release();
    piece.there.release();
    subject.progress.advance(piece.here.entry.bytes());
    return finding;
  });
}

void check_rounding(const Subject& subject, Findings& findings) {
  if (!subject.rounds_to_nearest()) return;  // learned rounding moves codes further
  const std::vector<const Parameter*> linears = int4_parameters(subject);
  std::vector<RoundingScratch> scratch(static_cast<size_t>(std::max(subject.threads.count, 1)));
  for_all(subject, linears.size(), findings, [&](size_t i, size_t worker) {
    std::optional<Finding> finding;
    try {
      finding = check_linear(subject, *linears[i], scratch[worker]);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::interrupted) throw;
      finding = Finding{linears[i]->module, error.message(), error.expected(), error.actual()};
    }
    const auto weights = static_cast<uint64_t>(element_count(linears[i]->shape));
    subject.progress.advance(weights / 2);
    return finding;
  });
}

}  // namespace qround::verify
