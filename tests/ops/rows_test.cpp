#include "ops/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"
#include "tests/ops/random_weight.h"
#include "tests/ops/weight_on_backend.h"

namespace qround::ops {
namespace {

class Rows : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(Rows);

TEST_P(Rows, AreAdded) {
  RandomValues random(1);
  for (const int64_t count : {1, 255, 257, 200'003}) {
    const auto x = random.normal(count), y = random.normal(count);
    OnBackend on(table());
    const auto from = on.copy_of(x);
    auto sum = on.copy_of(y);
    table().add(from.data(), sum.data(), count, on.context);
    const auto actual = sum.to_vector();
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(actual[i], y[i] + x[i]);
  }
}

TEST_P(Rows, AreCopiedBetweenColumnsOfWiderOnesWhichStay) {
  RandomValues random(2);
  for (const int64_t rows : {1, 3, 70})
    for (const int64_t width : {1, 12, 300}) {
      const int64_t x_stride = width + 5, out_stride = 2 * width + 1;
      const auto x = random.normal(rows * x_stride), before = random.normal(rows * out_stride);
      OnBackend on(table());
      const auto from = on.copy_of(x);
      auto out = on.copy_of(before);
      table().copy_rows({.x = from.data() + 5,
                         .out = out.data() + 1,
                         .rows = rows,
                         .width = width,
                         .x_stride = x_stride,
                         .out_stride = out_stride},
                        on.context);
      const auto actual = out.to_vector();
      for (int64_t i = 0; i < rows * out_stride; ++i) {
        const int64_t row = i / out_stride, column = i % out_stride - 1;
        const bool written = column >= 0 && column < width;
        ASSERT_EQ(actual[i], written ? x[row * x_stride + 5 + column] : before[i]);
      }
    }
}

TEST_P(Rows, AreGatheredByTokenOfAChoice) {
  RandomValues random(3);
  const int64_t width = 37;
  const auto x = random.normal(20 * width);
  const std::vector<int32_t> choices = {59, 0, 1, 2, 3, 31, 30};
  for (const int64_t per_row : {3, 1}) {
    std::vector<int32_t> of = choices;
    if (per_row == 1)
      for (int32_t& choice : of) choice /= 3;
    OnBackend on(table());
    const auto from = on.copy_of(x);
    const auto at = on.copy_of(of);
    auto out = on.nans(of.size() * width);
    table().gather_rows({.x = from.data(),
                         .choices = at.data(),
                         .out = out.data(),
                         .rows = static_cast<int64_t>(of.size()),
                         .width = width,
                         .choices_per_row = per_row},
                        on.context);
    const auto actual = out.to_vector();
    for (size_t row = 0; row < of.size(); ++row)
      for (int64_t i = 0; i < width; ++i)
        ASSERT_EQ(actual[row * width + i], x[choices[row] / 3 * width + i]);
  }
}

TEST_P(Rows, SquaresOfColumnsAreSummedWithTheRowsWeights) {
  RandomValues random(4);
  for (const int64_t rows : {1, 9, 130})
    for (const int64_t k : {1, 33, 140})
      for (const bool weighted : {false, true}) {
        const auto x = random.normal(rows * k), weights = random.uniform(rows, 0, 2);
        OnBackend on(table());
        const auto values = on.copy_of(x), w = on.copy_of(weights);
        auto squares = on.copy_of(std::vector<double>(static_cast<size_t>(k), NAN));
        table().column_squares({.x = values.data(),
                                .weights = weighted ? w.data() : nullptr,
                                .squares = squares.data(),
                                .rows = rows,
                                .k = k},
                               on.context);
        const auto actual = squares.to_vector();
        for (int64_t column = 0; column < k; ++column) {
          double sum = 0;
          for (int64_t row = 0; row < rows; ++row) {
            const double value = double{x[row * k + column]} * (weighted ? weights[row] : 1.0f);
            sum += value * value;
          }
          ASSERT_NEAR(actual[column], sum, 1e-12 * sum);
        }
      }
}

TEST_P(Rows, OfAnEmbeddingAreExact) {
  RandomValues random(7);
  for (const WeightFormat format : kAllWeightFormats) {
    const int64_t n = 50, k = 64;
    const RandomWeight weight(format, n, k, random);
    OnBackend on(table());
    const WeightOnBackend copy(weight.weight(), on.memory);
    const std::vector<int32_t> ids = {3, 49, 0, 3};
    const auto on_ids = on.copy_of(ids);
    auto out = on.nans(ids.size() * k);
    table().embed(
        copy.weight(),
        {.ids = on_ids.data(), .out = out.data(), .rows = static_cast<int64_t>(ids.size())},
        on.context);
    std::vector<float> expected(ids.size() * k);
    for (size_t i = 0; i < ids.size(); ++i)
      ref::dequantize_rows(weight.weight(), ids[i], ids[i] + 1, expected.data() + i * k);
    EXPECT_EQ(out.to_vector(), expected);
  }
}

TEST_P(Rows, LargestValuesAreFoundAtTheirLowestPlaces) {
  RandomValues random(8);
  for (const int64_t width : {1, 31, 300, 5000}) {
    const int64_t rows = 4;
    std::vector<float> x = random.normal(rows * width);
    x[static_cast<size_t>(width - 1)] = 10;  // at the end, at the beginning, twice, nowhere
    x[static_cast<size_t>(width)] = 10;
    x[static_cast<size_t>(2 * width + width / 2)] = x[static_cast<size_t>(3 * width - 1)] = 10;
    std::fill(x.end() - width, x.end(), -INFINITY);
    OnBackend on(table());
    const auto on_x = on.copy_of(x);
    auto places = on.copy_of(std::vector<int32_t>(rows, -1));
    table().largest_in_rows(
        {.x = on_x.data(), .places = places.data(), .rows = rows, .width = width}, on.context);
    EXPECT_EQ(places.to_vector(), (std::vector<int32_t>{static_cast<int32_t>(width - 1), 0,
                                                        static_cast<int32_t>(width / 2), 0}));
  }
}

}  // namespace
}  // namespace qround::ops
