// When int4 tensors do not hold the source's weights: which known mistake would make them.
//
// Every hypothesis is a way to read the stored tensors, or another weight of the source they may
// belong to. It explains them when the error falls below kOtherWeights and below half of what it
// was. A sample of rows decides: the mistakes are about layout, so they hit all rows alike.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/half.h"
#include "model/stored_parameter.h"
#include "verify/weight_scan.h"

namespace qround::verify {
namespace {

constexpr int64_t kSampleRows = 16;

// Reads single weights of the stored tensors; a hypothesis overrides where they are looked up.
struct Reading {
  const char* mistake;
  // The weight at [n, k].
  std::function<float(const Int4Tensors&, int64_t n, int64_t k)> weight;
};

uint32_t word_at(const Int4Tensors& int4, int64_t index) {
  return static_cast<uint32_t>(int4.qweight.as<int32_t>()[index]);
}

int code_at(const Int4Tensors& int4, int64_t n, int64_t k, int64_t nibble) {
  return static_cast<int>(word_at(int4, k / 8 * int4.shape.out + n) >> (4 * nibble) & 0xFu);
}

int code_at(const Int4Tensors& int4, int64_t n, int64_t k) { return code_at(int4, n, k, k % 8); }

float scale_at(const Int4Tensors& int4, int64_t n, int64_t k) {
  const int64_t group = k / int4.shape.group_size;
  return f16_to_f32(int4.scales.as<uint16_t>()[group * int4.shape.out + n]);
}

float product(float scale, int steps) { return scale * static_cast<float>(steps); }

// Nibble i of AutoAWQ's words holds output kAwqOrder[i]'s neighbour.
constexpr int64_t kAwqOrder[] = {0, 4, 1, 5, 2, 6, 3, 7};

const std::vector<Reading>& readings() {
  static const std::vector<Reading> list = {
      {"the zero point is off by one: codes are one too high",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         return product(scale_at(t, n, k), code_at(t, n, k) - 9);
       }},
      {"the zero point is off by one: codes are one too low",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         return product(scale_at(t, n, k), code_at(t, n, k) - 7);
       }},
      {"the codes of a word run backwards: the highest nibble comes first",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         return product(scale_at(t, n, k), code_at(t, n, k, 7 - k % 8) - 8);
       }},
      {"the two nibbles of every byte are swapped",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         return product(scale_at(t, n, k), code_at(t, n, k, (k % 8) ^ 1) - 8);
       }},
      {"the codes of a word are in AWQ's order",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         return product(scale_at(t, n, k), code_at(t, n, k, kAwqOrder[k % 8]) - 8);
       }},
      {"the codes are two's complement, without the offset of 8",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         return product(scale_at(t, n, k), (code_at(t, n, k) ^ 8) - 8);
       }},
      {"qweight is stored by outputs: [N, K / 8] under the shape [K / 8, N]",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         const uint32_t word = word_at(t, n * (t.shape.in / 8) + k / 8);
         return product(scale_at(t, n, k), static_cast<int>(word >> (4 * (k % 8)) & 0xFu) - 8);
       }},
      {"scales are stored by outputs: [N, K / g] under the shape [K / g, N]",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         const int64_t index = n * t.shape.n_groups() + k / t.shape.group_size;
         return product(f16_to_f32(t.scales.as<uint16_t>()[index]), code_at(t, n, k) - 8);
       }},
      {"inputs and outputs are transposed",
       [](const Int4Tensors& t, int64_t n, int64_t k) {
         if (t.shape.in != t.shape.out) return 0.0f;
         return product(scale_at(t, k, n), code_at(t, k, n) - 8);
       }},
  };
  return list;
}

float as_stored(const Int4Tensors& t, int64_t n, int64_t k) {
  return product(scale_at(t, n, k), code_at(t, n, k) - 8);
}

// Rows of the source that the sample looks at.
struct Sample {
  std::vector<int64_t> rows;
  std::vector<float> weights;  // [rows, K]
};

Sample sample_of(const TensorView& weight) {
  Sample sample;
  const int64_t n = weight.shape[0], in = weight.shape[1];
  const int64_t count = std::min(n, kSampleRows);
  sample.weights.resize(static_cast<size_t>(count * in));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = i * n / count;
    sample.rows.push_back(row);
    to_f32(weight.rows(row, row + 1), sample.weights.data() + i * in);
  }
  return sample;
}

template <typename Weight>
double relative_error(const Int4Tensors& int4, const Sample& sample, const Weight& weight) {
  const int64_t in = int4.shape.in;
  double distance = 0, norm = 0;
  for (size_t i = 0; i < sample.rows.size(); ++i) {
    for (int64_t k = 0; k < in; ++k) {
      const double source = double{sample.weights[i * static_cast<size_t>(in) + k]};
      const double d = source - double{weight(int4, sample.rows[i], k)};
      distance += d * d;
      norm += source * source;
    }
  }
  return norm > 0 ? std::sqrt(distance / norm) : 0;
}

// The sign of a scale is lost when the better of both signs fits, group by group.
double error_with_best_signs(const Int4Tensors& int4, const Sample& sample) {
  const int64_t in = int4.shape.in, size = int4.shape.group_size;
  double distance = 0, norm = 0;
  for (size_t i = 0; i < sample.rows.size(); ++i) {
    for (int64_t begin = 0; begin < in; begin += size) {
      double as_is = 0, negated = 0;
      for (int64_t k = begin; k < std::min(in, begin + size); ++k) {
        const double source = double{sample.weights[i * static_cast<size_t>(in) + k]};
        const double stored = double{as_stored(int4, sample.rows[i], k)};
        as_is += (source - stored) * (source - stored);
        negated += (source + stored) * (source + stored);
        norm += source * source;
      }
      distance += std::min(as_is, negated);
    }
  }
  return norm > 0 ? std::sqrt(distance / norm) : 0;
}

bool fits(double error, double before) { return error < kOtherWeights && error < before / 2; }

std::string percent(double error) { return fmt::format("{:.3g} %", 100 * error); }

// Whose weights these are, among maps of the same block and shape: gate for up, another expert.
std::optional<std::string> owner_of(const Subject& subject, const Parameter& p,
                                    const Int4Tensors& int4, double error) {
  for (const Parameter& other : subject.table.parameters()) {
    if (&other == &p || other.part != p.part || other.block != p.block || other.shape != p.shape)
      continue;
    const StoredParameter stored = find_stored(*subject.source, other);
    const auto* weight = std::get_if<TensorView>(&stored);
    if (weight == nullptr) continue;
    if (fits(relative_error(int4, sample_of(*weight), as_stored), error)) return other.module;
  }
  return std::nullopt;
}

std::string explanation(const Subject& subject, const Parameter& p, const Int4Tensors& int4,
                        const TensorView& weight, double error) {
  const Sample sample = sample_of(weight);
  for (const Reading& reading : readings()) {
    if (fits(relative_error(int4, sample, reading.weight), error)) return reading.mistake;
  }
  if (fits(error_with_best_signs(int4, sample), error)) return "the signs of the scales are lost";
  if (const auto owner = owner_of(subject, p, int4, error))
    return fmt::format("they are the weights of {}", *owner);
  return "no known mistake explains it";
}

}  // namespace

Finding explain_numerics(const Subject& subject, const Parameter& p, const Int4Tensors& int4,
                         const TensorView& weight, double error) {
  return {p.module,
          fmt::format("the weights are not the source's: {}",
                      explanation(subject, p, int4, weight, error)),
          fmt::format("a relative error of 2 to 15 %, at most {}", percent(kOtherWeights)),
          percent(error)};
}

}  // namespace qround::verify
