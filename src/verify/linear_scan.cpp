// One int4 linear: its zeros, scales and codes, and how far its weights are from the source's.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "checkpoint/gptq_int4.h"
#include "model/stored_parameter.h"
#include "verify/weight_scan.h"

namespace qround::verify {
namespace {

constexpr float kSmallestScale = 168 * 0x1p-24f;  // f16(1e-5)
constexpr float kLargestScale = 1;
constexpr int32_t kZerosOfV2 = static_cast<int32_t>(0x88888888);
constexpr int64_t kRows = 32;
constexpr int64_t kLanes = 16;

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

// The tensor's view if it is there, of this dtype, and aligned.
std::optional<TensorView> view_of(const Subject& subject, const std::string& name, DType dtype) {
  const TensorEntry* entry = subject.checkpoint.find(name);
  if (entry == nullptr || entry->dtype != dtype) return std::nullopt;
  return subject.checkpoint.view(*entry);
}

std::optional<Finding> scan_zeros(const Subject& subject, const std::string& name) {
  const auto view = view_of(subject, name, DType::i32);
  if (!view) return std::nullopt;
  const auto* words = view->as<int32_t>();
  const int64_t count = view->count();
  int32_t differs = 0;
  for (int64_t w = 0; w < count; ++w) differs |= words[w] ^ kSymmetricZeros;
  if (differs == 0) return std::nullopt;
  const auto* bad =
      std::find_if(words, words + count, [](int32_t word) { return word != kSymmetricZeros; });
  const char* note = *bad == kZerosOfV2
                         ? ": zeros of convention v2, which CUDA servers ignore; transformers and "
                           "SGLang on a CPU read every weight one step off"
                         : "";
  return Finding{name, fmt::format("word {} is no symmetric zero point{}", bad - words, note),
                 "0x77777777", fmt::format("0x{:08x}", static_cast<uint32_t>(*bad))};
}

float to_bf16_and_back(float value) { return bf16_to_f32(f32_to_bf16(value)); }

void scan_scales(const Subject& subject, const std::string& name, LinearScan& scan) {
  const auto view = view_of(subject, name, DType::f16);
  if (!view) return;
  scan.n_scales = view->count();
  for (int64_t index = 0; index < view->count(); ++index) {
    const float scale = f16_to_f32(view->as<uint16_t>()[index]);
    scan.n_negative += scale < 0;
    const double loss = double{scale} - double{to_bf16_and_back(scale)};
    scan.scale_squares += double{scale} * double{scale};
    scan.bf16_loss_squares += loss * loss;
    const float size = std::fabs(scale);
    if (size >= kSmallestScale && size <= kLargestScale) continue;
    if (!scan.scales)
      scan.scales = Finding{name, fmt::format("scale {} is not usable", index),
                            "finite, 1e-5 to 1 in magnitude", fmt::format("{}", scale)};
  }
}

std::optional<Finding> scan_codes(const Subject& subject, const std::string& name) {
  const auto view = view_of(subject, name, DType::i32);
  if (!view || view->count() == 0) return std::nullopt;
  const auto* words = view->as<uint32_t>();
  const uint32_t first = words[0];
  uint32_t differs = first ^ std::rotl(first, 4);
  for (int64_t w = 0; w < view->count(); ++w) differs |= words[w] ^ first;
  if (differs != 0) return std::nullopt;
  return Finding{name, "all codes are equal", "codes from 0 to 15", fmt::format("{}", first & 0xF)};
}

// --- Against the source

struct Scratch {
  std::vector<uint8_t> codes;    // [kRows, K]
  std::vector<uint16_t> scales;  // [kRows, groups]
  std::vector<float> weights;    // [kRows, K]
};

struct Sums {
  double distance = 0, norm = 0;
};

// One group: adds to the sums; returns the first weight out of bounds, if there are any, or -1.
int64_t compare_group(const float* weights, const uint8_t* codes, int64_t size, float scale,
                      const RoundingBounds* bounds, Sums& sums) {
  const float inverse = 1 / scale;
  const auto is_bad = [&](int64_t k) {
    const float distance = weights[k] * inverse - static_cast<float>(codes[k] - 8);
    const float above = codes[k] == 15 ? bounds->above : bounds->half_step;
    const float below = codes[k] == 0 ? bounds->below : bounds->half_step;
    return !(distance >= -below) | !(distance <= above);
  };
  int32_t n_bad = 0;
  for (int64_t k = 0; bounds != nullptr && k < size; ++k) n_bad += is_bad(k);
  // Sums of several lanes, which the compiler may keep in one vector.
  float distances[kLanes] = {}, norms[kLanes] = {};
  const auto add = [&](int64_t k, int64_t lane) {
    const float distance = weights[k] - scale * static_cast<float>(codes[k] - 8);
    distances[lane] += distance * distance;
    norms[lane] += weights[k] * weights[k];
  };
  int64_t k = 0;
  for (; k + kLanes <= size; k += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) add(k + lane, lane);
  }
  for (; k < size; ++k) add(k, 0);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    sums.distance += double{distances[lane]};
    sums.norm += double{norms[lane]};
  }
  if (n_bad == 0) return -1;
  for (k = 0; k < size; ++k) {
    if (is_bad(k)) return k;
  }
  return -1;
}

Finding rounding_finding(const Parameter& p, int64_t row, int64_t k, float weight, int code,
                         float scale) {
  return {p.module,
          fmt::format("the weight at [{}, {}] is further from the source than rounding", row, k),
          fmt::format("{} within {}", weight, std::fabs(scale) / 2),
          fmt::format("{} = {} * ({} - 8)", scale * static_cast<float>(code - 8), scale, code)};
}

// Symmetric linears without an order of inputs: zero 8, groups of neighbours.
void compare_rows(const Parameter& p, const Int4Tensors& int4, RowRange rows,
                  const RoundingBounds* bounds, Scratch& scratch, Sums& sums,
                  std::optional<Finding>& rounding) {
  const Int4Shape& shape = int4.shape;
  unpack_codes(int4, rows, scratch.codes.data());
  unpack_scales(int4, rows, scratch.scales.data());
  const int64_t n_groups = shape.n_groups();
  for (int64_t group = 0; group < rows.count() * n_groups; ++group) {
    const float scale = f16_to_f32(scratch.scales[static_cast<size_t>(group)]);
    const int64_t row = group / n_groups, k = group % n_groups * shape.group_size;
    const int64_t first = row * shape.in + k;
    const int64_t size = std::min(shape.group_size, shape.in - k);
    const int64_t bad = compare_group(scratch.weights.data() + first, scratch.codes.data() + first,
                                      size, scale, bounds, sums);
    if (bad < 0 || rounding) continue;
    const auto at = static_cast<size_t>(first + bad);
    rounding = rounding_finding(p, rows.begin + row, k + bad, scratch.weights[at],
                                scratch.codes[at], scale);
  }
}

// All others: as the tensors say.
void compare_general(const Int4Tensors& int4, RowRange rows, Scratch& scratch, Sums& sums) {
  std::vector<float> stored(static_cast<size_t>(rows.count() * int4.shape.in));
  dequantize_int4(int4, rows, stored.data());
  for (size_t i = 0; i < stored.size(); ++i) {
    const double distance = double{scratch.weights[i]} - double{stored[i]};
    sums.distance += distance * distance;
    sums.norm += double{scratch.weights[i]} * double{scratch.weights[i]};
  }
}

// Null: learned rounding moves codes further.
const RoundingBounds* bounds_of(const Subject& subject) {
  if (!subject.rounds_to_nearest()) return nullptr;
  return subject.searched_scales() ? &kSearched : &kNearest;
}

bool is_symmetric(const Subject& subject) { return subject.names.sym; }

void compare_with_source(const Subject& subject, const Parameter& p, LinearScan& scan) {
  const StoredParameter stored = find_stored(*subject.source, p);
  const auto* weight = std::get_if<TensorView>(&stored);
  if (weight == nullptr) return;  // the source has no such weight, or is quantized itself
  const Int4Tensors int4 = int4_tensors(subject.checkpoint, p.module, subject.int4_format());
  const Int4Shape& shape = int4.shape;
  if (shape.out != p.shape[0] || shape.in != p.shape[1]) return;  // shapes says so
  Scratch scratch;
  scratch.codes.resize(static_cast<size_t>(kRows * shape.in));
  scratch.weights.resize(scratch.codes.size());
  scratch.scales.resize(static_cast<size_t>(kRows * shape.n_groups()));
  Sums sums;
  const bool plain = is_symmetric(subject) && !int4.g_idx;
  for (int64_t row = 0; row < shape.out; row += kRows) {
    const RowRange rows{row, std::min(row + kRows, shape.out)};
    to_f32(weight->rows(rows.begin, rows.end), scratch.weights.data());
    if (plain) {
      compare_rows(p, int4, rows, bounds_of(subject), scratch, sums, scan.rounding);
    } else {
      compare_general(int4, rows, scratch, sums);
    }
  }
  const double error = sums.norm > 0 ? std::sqrt(sums.distance / sums.norm) : 0;
  scan.relative_error = error;
  // Broken scales say so themselves; the rest of the tensor may be right.
  if (scan.scales || error <= kOtherWeights) return;
  scan.numerics = explain_numerics(subject, p, int4, *weight, error);
  scan.rounding.reset();
}

}  // namespace

LinearScan scan_linear(const Subject& subject, const Parameter& p) {
  LinearScan scan;
  scan.parameter = &p;
  if (is_symmetric(subject)) scan.zeros = scan_zeros(subject, p.module + ".qzeros");
  scan_scales(subject, p.module + ".scales", scan);
  scan.codes = scan_codes(subject, p.module + ".qweight");
  if (subject.source == nullptr) return scan;
  try {
    compare_with_source(subject, p, scan);
  } catch (const Error&) {  // tensors that are missing or of another shape have rules of their own
  }
  return scan;
}

}  // namespace qround::verify
