#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>
#include <stdexcept>

#include "ops/linear.h"
#include "ops/weight_gradient.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"
#include "tests/ops/random_weight.h"
#include "tests/ops/weight_on_backend.h"

namespace qround::ops {
namespace {

// dy W in double: a linear map's gradient is exact, there is nothing to differ.
Doubles input_gradient(const Weight& weight, const std::vector<float>& dy, int64_t rows) {
  const int64_t n_outputs = outputs(weight), n_inputs = inputs(weight);
  std::vector<float> w(static_cast<size_t>(n_outputs * n_inputs));
  ref::dequantize_rows(weight, 0, n_outputs, w.data());
  Doubles dx(static_cast<size_t>(rows * n_inputs));
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t n = 0; n < n_outputs; ++n)
      for (int64_t k = 0; k < n_inputs; ++k)
        dx[t * n_inputs + k] += double{dy[t * n_outputs + n]} * double{w[n * n_inputs + k]};
  return dx;
}

std::vector<float> run_input(const OpTable& table, const Weight& weight,
                             const std::vector<float>& dy, int64_t rows, int threads,
                             std::vector<float> dx = {}) {
  OnBackend on(table, threads);
  const bool add = !dx.empty();
  dx.resize(static_cast<size_t>(rows * inputs(weight)), NAN);
  const WeightOnBackend w(weight, on.memory);
  const auto dy_there = on.copy_of(dy);
  auto dx_there = on.copy_of(dx);
  table.linear_backward_input(
      w.weight(), {.dy = dy_there.data(), .dx = dx_there.data(), .rows = rows, .add_to_dx = add},
      on.context);
  return dx_there.to_vector();
}

class LinearBackwardInput : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(LinearBackwardInput);

TEST_P(LinearBackwardInput, EqualsTheProductWithEveryStoredFormat) {
  RandomValues random(1);
  for (const WeightFormat format : kAllWeightFormats)
    for (const int64_t rows : {0, 1, 5, 33}) {
      const RandomWeight weight(format, 24, 96, random);
      const auto dy = random.normal(rows * 24);
      const Doubles expected = input_gradient(weight.weight(), dy, rows);
      for (const OpTable* backend : {&ref_table(), &table()})
        expect_gradient(run_input(*backend, weight.weight(), dy, rows, 2), expected, 24,
                        random.seed(), 0, factor_rounding(*backend));
    }
}

TEST_P(LinearBackwardInput, CrossesBlocksOfOutputsInputsAndRows) {
  RandomValues random(2);
  const struct {
    int64_t rows, n, k;
  } shapes[] = {{520, 3, 7}, {4, 300, 129}, {9, 513, 200}, {3, 1, 70}};
  for (const auto& s : shapes) {
    const RandomWeight weight(WeightFormat::bf16, s.n, s.k, random);
    const auto dy = random.normal(s.rows * s.n);
    const Doubles expected = input_gradient(weight.weight(), dy, s.rows);
    expect_gradient(run_input(table(), weight.weight(), dy, s.rows, 2), expected, s.n,
                    random.seed(), 0, factor_rounding(table()));
  }
}

TEST_P(LinearBackwardInput, AddsToWhatIsThere) {
  RandomValues random(3);
  const RandomWeight weight(WeightFormat::f32, 300, 70, random);
  const auto dy = random.normal(6 * 300), before = random.normal(6 * 70);
  Doubles expected = input_gradient(weight.weight(), dy, 6);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += double{before[i]};
  for (const OpTable* backend : {&ref_table(), &table()})
    expect_gradient(run_input(*backend, weight.weight(), dy, 6, 2, before), expected, 300,
                    random.seed(), 0, factor_rounding(*backend));
}

TEST(LinearBackwardInputOnCpu, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(4);
  const RandomWeight weight(WeightFormat::bf16, 130, 300, random);
  const auto dy = random.normal(700 * 130);
  expect_same_bits_for_all_thread_counts([&](int threads) {
    return run_input(select_backend("cpu"), weight.weight(), dy, 700, threads);
  });
}

struct Product {
  int64_t rows, n, k, x_stride, dy_stride;
  std::vector<float> x, dy;

  Product(int64_t of_rows, int64_t of_n, int64_t of_k, int64_t gap, RandomValues& random)
      : rows(of_rows),
        n(of_n),
        k(of_k),
        x_stride(of_k + gap),
        dy_stride(of_n + gap),
        x(random.normal(rows * x_stride)),
        dy(random.normal(rows * dy_stride)) {}

  WeightGradientJob job(int64_t matrix) const {
    return {.matrix = matrix,
            .x = x.data(),
            .dy = dy.data(),
            .rows = rows,
            .n = n,
            .k = k,
            .x_stride = x_stride,
            .dy_stride = dy_stride};
  }
  Doubles expected() const {
    Doubles dw(static_cast<size_t>(n * k));
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t row = 0; row < n; ++row)
        for (int64_t column = 0; column < k; ++column)
          dw[row * k + column] +=
              double{dy[t * dy_stride + row]} * double{x[t * x_stride + column]};
    return dw;
  }
};

// Whole matrices put together from their tiles; every row must come exactly once.
std::map<int64_t, std::vector<float>> collect(const OpTable& table,
                                              const std::vector<Product>& products, int threads) {
  OnBackend on(table, threads);
  std::vector<WeightGradientJob> jobs;
  std::vector<Buffer<float>> operands;
  for (const Product& product : products) {
    jobs.push_back(product.job(static_cast<int64_t>(100 + jobs.size())));
    jobs.back().x = operands.emplace_back(on.copy_of(product.x)).data();
    jobs.back().dy = operands.emplace_back(on.copy_of(product.dy)).data();
  }
  std::map<int64_t, std::vector<float>> matrices;
  std::map<int64_t, std::vector<int>> visits;
  for (size_t i = 0; i < jobs.size(); ++i) {
    matrices[jobs[i].matrix].assign(static_cast<size_t>(jobs[i].n * jobs[i].k), NAN);
    visits[jobs[i].matrix].assign(static_cast<size_t>(jobs[i].n), 0);
  }
  std::mutex mutex;
  const WeightGradientConsumer consume = [&](const WeightGradientTile& tile) {
    const std::lock_guard lock(mutex);
    std::vector<float>& matrix = matrices.at(tile.matrix);
    std::copy_n(tile.values, (tile.row_end - tile.row_begin) * tile.k,
                matrix.begin() + tile.row_begin * tile.k);
    for (int64_t row = tile.row_begin; row < tile.row_end; ++row) ++visits.at(tile.matrix)[row];
    EXPECT_LT(tile.worker, threads);
  };
  table.weight_gradient_tiles(jobs, {.consume = &consume}, on.context);
  for (const auto& [matrix, rows] : visits) EXPECT_EQ(rows, std::vector<int>(rows.size(), 1));
  return matrices;
}

class WeightGradientTiles : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(WeightGradientTiles);

TEST_P(WeightGradientTiles, CoverEveryMatrixOnceWithItsProduct) {
  RandomValues random(5);
  std::vector<Product> products;
  products.emplace_back(5, 3, 7, 0, random);
  products.emplace_back(300, 65, 40, 2, random);   // more tokens than a block, strided
  products.emplace_back(20, 140, 600, 1, random);  // rows of x too long to read as they lie
  products.emplace_back(257, 600, 33, 0, random);  // several tiles
  products.emplace_back(0, 4, 5, 0, random);       // no token: zeros
  products.emplace_back(1, 1, 1, 0, random);
  for (const OpTable* backend : {&ref_table(), &table()}) {
    const auto matrices = collect(*backend, products, 2);
    for (size_t i = 0; i < products.size(); ++i) {
      if (products[i].rows == 0) {
        EXPECT_EQ(matrices.at(static_cast<int64_t>(100 + i)), std::vector<float>(20));
      } else {
        expect_gradient(matrices.at(static_cast<int64_t>(100 + i)), products[i].expected(),
                        products[i].rows, random.seed(), 0, factor_rounding(*backend));
      }
    }
  }
}

TEST(WeightGradientTilesOnCpu, DoNotDependOnTheNumberOfThreads) {
  RandomValues random(6);
  std::vector<Product> products;
  for (int64_t n : {700, 130, 64}) products.emplace_back(400, n, 96, 0, random);
  const auto one = collect(select_backend("cpu"), products, 1);
  EXPECT_EQ(collect(select_backend("cpu"), products, 2), one);
  EXPECT_EQ(collect(select_backend("cpu"), products, 3), one);
}

TEST(WeightGradientTilesOnCpu, StayTheSameWhateverRunsBesideThem) {
  RandomValues random(7);
  std::vector<Product> products;
  for (int64_t n : {300, 90}) products.emplace_back(270, n, 50, 0, random);
  const auto both = collect(select_backend("cpu"), products, 2);
  products.pop_back();
  EXPECT_EQ(collect(select_backend("cpu"), products, 2).at(100), both.at(100));
}

TEST(WeightGradientTilesOnCpu, PassOnTheConsumersException) {
  RandomValues random(8);
  const Product product(10, 600, 20, 0, random);
  const WeightGradientJob job = product.job(0);
  Workspace workspace;
  const WeightGradientConsumer consume = [](const WeightGradientTile&) {
    throw std::runtime_error("disk full");
  };
  EXPECT_THROW(cpu::weight_gradient_tiles({&job, 1}, {.consume = &consume}, {{2}, workspace}),
               std::runtime_error);
}

}  // namespace
}  // namespace qround::ops
