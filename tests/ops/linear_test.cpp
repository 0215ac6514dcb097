#include "ops/linear.h"

#include <gtest/gtest.h>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_weight.h"
#include "tests/ops/weight_on_backend.h"

namespace qround::ops {
namespace {

struct Shape {
  int64_t n, k, group_size;
};

// Sizes beside the widths of vectors, words, register tiles, strips (64 x 256) and shares.
constexpr Shape kShapes[] = {{8, 32, 32},     {64, 64, 32},   {72, 96, 32},  {128, 320, 64},
                             {136, 512, 128}, {200, 264, 8},  {257, 40, 40}, {2056, 128, 128},
                             {16, 2304, 128}, {24, 160, 160}, {33, 136, 64}};
constexpr int64_t kRows[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 64, 65, 130};

std::vector<float> run(const OpTable& table, const Weight& weight, const std::vector<float>& x,
                       int64_t rows, int threads, bool many_rows = false) {
  OnBackend on(table, threads);
  on.context.many_rows = many_rows;
  const WeightOnBackend w(weight, on.memory);
  const auto inputs = on.copy_of(x);
  auto y = on.nans(static_cast<size_t>(rows * outputs(weight)));
  table.linear(w.weight(), inputs.data(), rows, y.data(), on.context);
  return y.to_vector();
}

class Linear : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(Linear);

// |x_t| |w_n| bounds every partial sum; the int4 kernels sum codes from 16 to 31 before they
// subtract, which is up to four times the weight's own magnitude. Rounding both factors first adds
// at most twice their relative error times that bound.
std::vector<float> tolerances(const Weight& weight, const std::vector<float>& x, int64_t rows,
                              float rounding) {
  const auto n = static_cast<size_t>(outputs(weight)), k = static_cast<size_t>(inputs(weight));
  std::vector<float> w(n * k), result;
  ref::dequantize_rows(weight, 0, outputs(weight), w.data());
  const float factor = std::holds_alternative<Int4Weight>(weight) ? 4.0f : 1.0f;
  for (size_t t = 0; t < static_cast<size_t>(rows); ++t)
    for (size_t row = 0; row < n; ++row) {
      const float bound =
          norm(std::span(x).subspan(t * k, k)) * norm(std::span(w).subspan(row * k, k));
      result.push_back(sum_tolerance(static_cast<int64_t>(k), factor * bound) +
                       2 * rounding * bound);
    }
  return result;
}

TEST_P(Linear, EqualsDefinitionForAllFormatsAndOddShapes) {
  uint64_t seed = 1;
  for (const WeightFormat format : kAllWeightFormats)
    for (const Shape& shape : kShapes)
      for (const int64_t rows : kRows) {
        if (rows > 3 && shape.n * shape.k > 40000 && rows != 13)
          continue;  // the definition is slow
        if (is_emulated(table()) && rows != 1 && rows != 13 && rows != 65) continue;
        SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format) << " N " << shape.n
                                        << " K " << shape.k << " rows " << rows);
        RandomValues random(seed++);
        const RandomWeight w(format, shape.n, shape.k, random, shape.group_size);
        const auto x = random.normal(rows * shape.k);
        const auto expected = run(ref_table(), w.weight(), x, rows, 1);
        for (const bool many_rows : {false, true})
          expect_close(run(table(), w.weight(), x, rows, 2, many_rows), expected,
                       tolerances(w.weight(), x, rows, factor_rounding(table())), random.seed());
      }
}

TEST(LinearOnCpu, BitsDoNotDependOnTheNumberOfThreads) {
  for (const WeightFormat format : kAllWeightFormats)
    for (const int64_t rows : {1, 3, 20, 300}) {
      SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format) << " rows " << rows);
      RandomValues random(99);
      const RandomWeight w(format, 520, 128, random);
      const auto x = random.normal(rows * 128);
      expect_same_bits_for_all_thread_counts(
          [&](int threads) { return run(select_backend("cpu"), w.weight(), x, rows, threads); });
    }
}

TEST(LinearOnCpu, BitsDoNotDependOnThePositionOfTheInput) {
  RandomValues random(7);
  for (const WeightFormat format : kAllWeightFormats) {
    const RandomWeight w(format, 72, 96, random);
    const auto x = random.normal(96);
    Workspace workspace;
    std::vector<float> shifted(97 + 16), first(72), second(72);
    for (size_t offset : {size_t{0}, size_t{1}}) {
      std::copy(x.begin(), x.end(), shifted.begin() + static_cast<ptrdiff_t>(offset));
      cpu::linear(w.weight(), shifted.data() + offset, 1, (offset == 0 ? first : second).data(),
                  {.threads = {1}, .workspace = workspace});
    }
    EXPECT_EQ(first, second);
  }
}

// Decoding several sequences in one batch, verifying drafts or cutting a prompt elsewhere must not
// change a bit of any row.
TEST_P(Linear, ARowsBitsDoNotDependOnItsNeighbours) {
  RandomValues random(8);
  for (const WeightFormat format : kAllWeightFormats)
    for (const Shape& shape : {Shape{137, 200, 40}, Shape{72, 640, 128}, Shape{264, 320, 32}}) {
      SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format) << " N " << shape.n
                                      << " K " << shape.k);
      const RandomWeight w(format, shape.n, shape.k, random, shape.group_size);
      const auto x = random.normal(70 * shape.k);
      for (const bool many_rows : {false, true}) {
        const auto together = run(table(), w.weight(), x, 70, 1, many_rows);
        for (const int64_t rows : {1, 2, 3, 5, 8, 9, 40})
          for (const int64_t t : {0, 1, 5, 29}) {
            if (is_emulated(table()) && (rows % 3 != 0 || t % 5 != 0)) continue;
            const std::vector<float> part(x.begin() + t * shape.k,
                                          x.begin() + (t + rows) * shape.k);
            const auto alone = run(table(), w.weight(), part, rows, 1, many_rows);
            EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + t * shape.n))
                << rows << " rows from " << t << (many_rows ? ", the way for many" : "");
          }
      }
    }
}

TEST(StoredWeights, DefinitionReadsTheInt4LayoutAsDocumented) {
  // Two groups of 8 inputs, 2 outputs; codes 0..7 and 8..15 for output 0, all 15 for output 1.
  const uint32_t qweight[] = {0x76543210u, 0xFFFFFFFFu, 0xFEDCBA98u, 0xFFFFFFFFu};
  const uint32_t qzeros[] = {0x000000F7u, 0x00000003u};  // plus one: 8 and 16, then 4 and 1
  const uint16_t scales[] = {f32_to_f16(0.5f), f32_to_f16(-1), f32_to_f16(2), f32_to_f16(0.25f)};
  const Weight weight = Int4Weight{
      .qweight = qweight, .qzeros = qzeros, .scales = scales, .n = 2, .k = 16, .group_size = 8};
  std::vector<float> expected;
  for (int code = 0; code < 8; ++code) expected.push_back(0.5f * static_cast<float>(code - 8));
  for (int code = 8; code < 16; ++code) expected.push_back(2 * static_cast<float>(code - 4));
  for (int i = 0; i < 8; ++i) expected.push_back(-1 * static_cast<float>(15 - 16));
  for (int i = 0; i < 8; ++i) expected.push_back(0.25f * static_cast<float>(15 - 1));
  for (auto* dequantize_rows : {ref::dequantize_rows, cpu::dequantize_rows}) {
    std::vector<float> rows(32);
    dequantize_rows(weight, 0, 2, rows.data());
    EXPECT_EQ(rows, expected);
  }
}

TEST(StoredWeights, DequantizedRowsAreExactInAllFormats) {
  RandomValues random(3);
  for (const WeightFormat format : kAllWeightFormats) {
    const RandomWeight w(format, 40, 96, random);
    std::vector<float> expected(7 * 96);
    ref::dequantize_rows(w.weight(), 5, 12, expected.data());
    for (const OpTable* table : fast_backends()) {
      const WeightOnBackend on_backend(w.weight(), *table->memory);
      Buffer<float> actual(*table->memory, 7 * 96);
      table->dequantize_rows(on_backend.weight(), 5, 12, actual.data());
      EXPECT_EQ(actual.to_vector(), expected);
    }
  }
}

}  // namespace
}  // namespace qround::ops
