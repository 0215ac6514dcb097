#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>
#include <set>

#include "ops/linear.h"
#include "ops/mixture_of_experts.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"
#include "tests/ops/random_weight.h"
#include "tests/ops/weight_on_backend.h"

namespace qround::ops {
namespace {

struct Groups {
  std::vector<int64_t> begin, totals;
  std::vector<int32_t> choices;
};

// Totals begin as 10.
Groups group(const OpTable& table, const std::vector<int32_t>& experts, int64_t n_chosen,
             int64_t n_experts) {
  OnBackend on(table);
  const auto chosen = on.copy_of(experts);
  Buffer<int64_t> begin(on.memory, n_experts + 1);
  auto totals = on.copy_of(std::vector<int64_t>(static_cast<size_t>(n_experts), 10));
  Buffer<int32_t> choices(on.memory, static_cast<int64_t>(experts.size()));
  table.group_by_expert({.experts = chosen.data(),
                         .groups = {begin.data(), choices.data()},
                         .totals = totals.data(),
                         .tokens = static_cast<int64_t>(experts.size()) / n_chosen,
                         .n_experts = n_experts,
                         .n_chosen = n_chosen},
                        on.context);
  return {begin.to_vector(), totals.to_vector(), choices.to_vector()};
}

class GroupByExpert : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(GroupByExpert);

TEST_P(GroupByExpert, SortsChoicesByExpertThenToken) {
  const Groups groups = group(table(), {2, 0, /**/ 0, 3, /**/ 2, 3}, 2, 5);
  EXPECT_EQ(groups.begin, (std::vector<int64_t>{0, 2, 2, 4, 6, 6}));
  EXPECT_EQ(groups.choices, (std::vector<int32_t>{1, 2, 0, 4, 3, 5}));
  EXPECT_EQ(groups.totals, (std::vector<int64_t>{12, 10, 12, 12, 10}));
}

TEST_P(GroupByExpert, EqualsDefinitionOnManyTokens) {
  RandomValues random(12);
  for (const int64_t n_experts : {1, 7, 300}) {
    std::vector<int32_t> experts(3 * 401);
    for (int32_t& expert : experts) expert = static_cast<int32_t>(random.bits() % n_experts);
    const Groups expected = group(ref_table(), experts, 3, n_experts);
    const Groups actual = group(table(), experts, 3, n_experts);
    EXPECT_EQ(actual.begin, expected.begin);
    EXPECT_EQ(actual.choices, expected.choices);
    EXPECT_EQ(actual.totals, expected.totals);
  }
}

class RouteBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(RouteBackward);

TEST_P(RouteBackward, EqualsFiniteDifferencesForChosenAndIsZeroForOthers) {
  RandomValues random(1);
  const int64_t tokens = 9, n_experts = 7, n_chosen = 3;
  const auto logits = random.normal(tokens * n_experts), d_weights = random.normal(tokens * 3);
  std::vector<int32_t> experts(static_cast<size_t>(tokens * n_chosen));
  std::vector<float> weights(experts.size());
  Workspace workspace;
  ref::route({.logits = logits.data(),
              .experts = experts.data(),
              .weights = weights.data(),
              .tokens = tokens,
              .n_experts = n_experts,
              .n_chosen = n_chosen},
             {{1}, workspace});
  // The choice is held fixed.
  const auto loss = [&](const Doubles& at) {
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      double total = 0, weighted = 0;
      for (int64_t slot = t * n_chosen; slot < (t + 1) * n_chosen; ++slot) {
        const double weight = std::exp(at[t * n_experts + experts[slot]]);
        total += weight;
        weighted += weight * double{d_weights[slot]};
      }
      sum += weighted / total;
    }
    return sum;
  };
  const Doubles expected = central_differences(loss, to_doubles(logits));
  for (const OpTable* each : {&ref_table(), &table()}) {
    OnBackend on(*each);
    const auto chosen = on.copy_of(experts);
    const auto w = on.copy_of(weights), dw = on.copy_of(d_weights);
    auto d_logits = on.nans(logits.size());
    each->route_backward({.experts = chosen.data(),
                          .weights = w.data(),
                          .d_weights = dw.data(),
                          .d_logits = d_logits.data(),
                          .tokens = tokens,
                          .n_experts = n_experts,
                          .n_chosen = n_chosen},
                         on.context);
    expect_gradient(d_logits.to_vector(), expected, n_chosen, random.seed());
  }
}

struct Shape {
  int64_t tokens, hidden, width, n_experts, n_chosen;
};

struct Result {
  std::vector<float> out, dx, d_weights;
  std::map<int64_t, std::vector<float>> matrices;
};

// Expert 0 gets no token.
struct Operands {
  Shape s;
  std::vector<float> x, weights, d_out;
  std::vector<int32_t> experts;
  std::vector<int64_t> first_rows;
  std::vector<int32_t> choices;
  ExpertGroups groups;
  std::vector<RandomWeight> storage;
  std::vector<SwigluWeights> expert_weights;

  Operands(const Shape& shape, WeightFormat format, RandomValues& random)
      : s(shape),
        x(random.normal(s.tokens * s.hidden)),
        weights(random.uniform(s.tokens * s.n_chosen, 0, 1)),
        d_out(random.normal(s.tokens * s.hidden)) {
    for (int64_t t = 0; t < s.tokens; ++t) {
      std::set<int32_t> chosen;
      while (static_cast<int64_t>(chosen.size()) < s.n_chosen)
        chosen.insert(static_cast<int32_t>(1 + random.bits() % (s.n_experts - 1)));
      experts.insert(experts.end(), chosen.rbegin(), chosen.rend());
    }
    first_rows.resize(static_cast<size_t>(s.n_experts + 1));
    choices.resize(experts.size());
    groups = {first_rows.data(), choices.data()};
    Workspace workspace;
    ref::group_by_expert({.experts = experts.data(),
                          .groups = groups,
                          .tokens = s.tokens,
                          .n_experts = s.n_experts,
                          .n_chosen = s.n_chosen},
                         {{1}, workspace});
    for (int64_t matrix = 0; matrix < 3 * s.n_experts; ++matrix) {
      const bool down = matrix % 3 == static_cast<int64_t>(ExpertMatrix::down);
      storage.emplace_back(format, down ? s.hidden : s.width, down ? s.width : s.hidden, random);
    }
    for (size_t expert = 0; expert < static_cast<size_t>(s.n_experts); ++expert)
      expert_weights.push_back({storage[3 * expert].weight(), storage[3 * expert + 1].weight(),
                                storage[3 * expert + 2].weight()});
  }

  Doubles matrix(int64_t index) const {
    const Weight& weight = storage[static_cast<size_t>(index)].weight();
    std::vector<float> values(static_cast<size_t>(outputs(weight) * inputs(weight)));
    ref::dequantize_rows(weight, 0, outputs(weight), values.data());
    return to_doubles(values);
  }

  // The loss with one operand replaced: x, weights, or the matrix of that index.
  double loss(const Doubles& at_x, const Doubles& at_weights, int64_t replaced,
              const Doubles& matrix_values) const {
    double sum = 0;
    for (int64_t choice = 0; choice < s.tokens * s.n_chosen; ++choice) {
      const int64_t token = choice / s.n_chosen;
      const auto values = [&](ExpertMatrix which) {
        const int64_t index = expert_matrix(experts[choice], which);
        return index == replaced ? matrix_values : matrix(index);
      };
      const Doubles gate = values(ExpertMatrix::gate), up = values(ExpertMatrix::up),
                    down = values(ExpertMatrix::down);
      for (int64_t i = 0; i < s.width; ++i) {
        double g = 0, u = 0, back = 0;
        for (int64_t h = 0; h < s.hidden; ++h) {
          g += gate[i * s.hidden + h] * at_x[token * s.hidden + h];
          u += up[i * s.hidden + h] * at_x[token * s.hidden + h];
          back += down[h * s.width + i] * double{d_out[token * s.hidden + h]};
        }
        sum += at_weights[choice] * back * g / (1 + std::exp(-g)) * u;
      }
    }
    return sum;
  }

  Result run(const OpTable& table, int threads = 2, const std::vector<uint8_t>& wanted = {}) const {
    OnBackend on(table, threads);
    const ExpertsOnBackend weights_there(expert_weights, on.memory);
    auto begin = on.copy_of(first_rows);
    auto rows = on.copy_of(choices);
    const ExpertGroups groups_there{begin.data(), rows.data()};
    const auto x_there = on.copy_of(x), factors = on.copy_of(weights), dy = on.copy_of(d_out);
    const auto hidden_count = static_cast<size_t>(s.tokens * s.n_chosen * s.width);
    auto gate = on.nans(hidden_count), up = on.nans(hidden_count), out = on.nans(x.size());
    auto dx = on.zeros(x.size()), d_weights = on.nans(weights.size());
    table.grouped_experts({.x = x_there.data(),
                           .groups = &groups_there,
                           .weights = factors.data(),
                           .expert_weights = weights_there.weights(),
                           .gate = gate.data(),
                           .up = up.data(),
                           .out = out.data(),
                           .tokens = s.tokens,
                           .hidden = s.hidden,
                           .n_chosen = s.n_chosen},
                          on.context);
    Result result;
    std::mutex mutex;
    const WeightGradientConsumer consume = [&](const WeightGradientTile& tile) {
      const std::lock_guard lock(mutex);
      std::vector<float>& of_matrix = result.matrices[tile.matrix];
      const Weight& weight = storage[static_cast<size_t>(tile.matrix)].weight();
      of_matrix.resize(static_cast<size_t>(outputs(weight) * inputs(weight)), NAN);
      std::copy_n(tile.values, (tile.row_end - tile.row_begin) * tile.k,
                  of_matrix.begin() + tile.row_begin * tile.k);
    };
    const WeightGradientSink sink{.consume = &consume};
    table.grouped_experts_backward({.x = x_there.data(),
                                    .groups = &groups_there,
                                    .weights = factors.data(),
                                    .expert_weights = weights_there.weights(),
                                    .gate = gate.data(),
                                    .up = up.data(),
                                    .d_out = dy.data(),
                                    .dx = dx.data(),
                                    .d_weights = d_weights.data(),
                                    .sink = &sink,
                                    .wanted = wanted.empty() ? nullptr : wanted.data(),
                                    .tokens = s.tokens,
                                    .hidden = s.hidden,
                                    .n_chosen = s.n_chosen},
                                   on.context);
    result.out = out.to_vector();
    result.dx = dx.to_vector();
    result.d_weights = d_weights.to_vector();
    return result;
  }
};

class GroupedExperts : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(GroupedExperts);

// Products one behind the other, the inputs of each rounded.
constexpr float kForwardRoundings = 3, kBackwardRoundings = 5;

TEST_P(GroupedExperts, OutputsAreThoseOfExpertsWithoutTraining) {
  RandomValues random(2);
  const Operands operands({40, 24, 16, 6, 2}, WeightFormat::bf16, random);
  Workspace workspace;
  std::vector<float> expected(operands.x.size());
  ref::experts({.x = operands.x.data(),
                .experts = operands.experts.data(),
                .weights = operands.weights.data(),
                .expert_weights = operands.expert_weights,
                .out = expected.data(),
                .tokens = operands.s.tokens,
                .hidden = operands.s.hidden,
                .n_chosen = operands.s.n_chosen},
               {{1}, workspace});
  for (const OpTable* each : {&ref_table(), &table()})
    expect_gradient(operands.run(*each).out, to_doubles(expected), 24, random.seed(), 0,
                    kForwardRoundings * factor_rounding(*each));
}

TEST_P(GroupedExperts, GradientsEqualFiniteDifferences) {
  RandomValues random(3);
  const Operands operands({7, 6, 4, 5, 2}, WeightFormat::f32, random);
  const Doubles x = to_doubles(operands.x), weights = to_doubles(operands.weights);
  const Doubles dx =
      central_differences([&](const Doubles& at) { return operands.loss(at, weights, -1, {}); }, x);
  const Doubles d_weights =
      central_differences([&](const Doubles& at) { return operands.loss(x, at, -1, {}); }, weights);
  const float rounding = kBackwardRoundings * factor_rounding(table());
  const Result results[] = {operands.run(ref_table()), operands.run(table())};
  for (const Result& result : results) {
    expect_gradient(result.dx, dx, 20, random.seed(), 0, rounding);
    expect_gradient(result.d_weights, d_weights, 6, random.seed(), 0, rounding);
  }
  for (int64_t matrix = 3; matrix < 3 * operands.s.n_experts; ++matrix) {
    const Doubles expected = central_differences(
        [&](const Doubles& at) { return operands.loss(x, weights, matrix, at); },
        operands.matrix(matrix));
    for (const Result& result : results)
      expect_gradient(result.matrices.at(matrix), expected, 20, random.seed(), 0, rounding);
  }
}

void expect_close_results(const Result& actual, const Result& expected, int64_t terms,
                          uint64_t seed, float factor_error = 0) {
  const float forward = kForwardRoundings * factor_error;
  const float backward = kBackwardRoundings * factor_error;
  expect_gradient(actual.out, to_doubles(expected.out), terms, seed, 0, forward);
  expect_gradient(actual.dx, to_doubles(expected.dx), terms, seed, 0, backward);
  expect_gradient(actual.d_weights, to_doubles(expected.d_weights), terms, seed, 0, backward);
  ASSERT_EQ(actual.matrices.size(), expected.matrices.size());
  for (const auto& [matrix, gradient] : expected.matrices)
    expect_gradient(actual.matrices.at(matrix), to_doubles(gradient), terms, seed, 0, backward);
}

TEST_P(GroupedExperts, EqualDefinition) {
  RandomValues random(4);
  for (const Shape& shape : {Shape{300, 72, 40, 5, 2}, Shape{20, 200, 136, 9, 3}}) {
    const Operands operands(shape, WeightFormat::bf16, random);
    expect_close_results(operands.run(table()), operands.run(ref_table()), 300, random.seed(),
                         factor_rounding(table()));
  }
}

// Widths that are no multiple of 8 (rows of a BF16 weight are not aligned then), stored in F32.
TEST_P(GroupedExperts, EqualDefinitionForOddWidths) {
  RandomValues random(9);
  for (const WeightFormat format : {WeightFormat::bf16, WeightFormat::f32}) {
    const Operands operands({50, 37, 21, 4, 2}, format, random);
    expect_close_results(operands.run(table()), operands.run(ref_table()), 100, random.seed(),
                         factor_rounding(table()));
  }
}

// More gathered rows than are taken at once.
TEST(GroupedExpertsOnCpu, EqualDefinitionInSeveralWaves) {
  RandomValues random(5);
  const Operands operands({600, 8192, 2, 4, 2}, WeightFormat::bf16, random);
  expect_close_results(operands.run(select_backend("cpu"), 2), operands.run(ref_table()), 600,
                       random.seed());
}

TEST_P(GroupedExperts, ExpertsWithoutTokensAndUnwantedMapsGetNoCall) {
  RandomValues random(6);
  const Operands operands({30, 24, 16, 5, 2}, WeightFormat::bf16, random);
  const Result all = operands.run(table(), 2);
  EXPECT_EQ(all.matrices.size(), 12u);
  EXPECT_FALSE(all.matrices.contains(0));
  std::vector<uint8_t> wanted(15, 0);
  wanted[0] = wanted[7] = 1;
  const Result some = operands.run(table(), 2, wanted);
  ASSERT_EQ(some.matrices.size(), 1u);
  EXPECT_EQ(some.matrices.at(7), all.matrices.at(7));
  EXPECT_EQ(some.dx, all.dx);
}

// Steps said as data are those a function makes of the same gradients.
TEST_P(GroupedExperts, GradientsBecomeSignSteps) {
  RandomValues random(8);
  const int64_t group = 32;
  const Operands operands({60, 160, 96, 5, 2}, WeightFormat::bf16, random);
  const Result gradients = operands.run(table());
  const SignRoundRule rule{.v_unit = 1e-3f};
  const SignRoundStepSizes sizes{25, 0.01f};
  const OnBackend on(table());
  const ExpertsOnBackend sources(operands.expert_weights, on.memory);
  auto sizes_there = on.copy_of(std::vector{sizes});

  struct Tuned {
    Buffer<int16_t> v;
    Buffer<float> alpha, beta;
    Buffer<uint16_t> values;
  };
  std::vector<Tuned> tuned;
  std::vector<SignRoundTarget> targets;
  std::vector<SwigluWeights> effective(sources.weights());
  for (size_t matrix = 0; matrix < operands.storage.size(); ++matrix) {
    SwigluWeights& expert = effective[matrix / 3];
    Weight& weight = matrix % 3 == 0 ? expert.gate : matrix % 3 == 1 ? expert.up : expert.down;
    const auto source = std::get<DenseWeight>(weight);
    const auto count = static_cast<size_t>(source.n * source.k);
    Tuned& t = tuned.emplace_back(
        Tuned{on.copy_of(std::vector<int16_t>(count)),
              on.copy_of(std::vector<float>(count / static_cast<size_t>(group), 1)),
              on.copy_of(std::vector<float>(count / static_cast<size_t>(group), 1)),
              on.copy_of(std::vector<uint16_t>(count))});
    const SignRoundRows rows{0, source.n, group, t.v.data(), t.alpha.data(), t.beta.data()};
    targets.push_back({source, rows, {DType::bf16, t.values.data()}});
  }
  targets[4].rows.v = nullptr;  // expert 1's up is not wanted
  const SignRoundUpdate update{rule, sizes_there.data(), targets};
  const WeightGradientSink sink{.update = &update};

  auto begin = on.copy_of(operands.first_rows);
  auto choices = on.copy_of(operands.choices);
  const ExpertGroups groups{begin.data(), choices.data()};
  const auto x = on.copy_of(operands.x), factors = on.copy_of(operands.weights);
  const auto d_out = on.copy_of(operands.d_out);
  const Shape& s = operands.s;
  const auto hidden_count = static_cast<size_t>(s.tokens * s.n_chosen * s.width);
  auto gate = on.nans(hidden_count), up = on.nans(hidden_count), out = on.nans(operands.x.size());
  auto dx = on.zeros(operands.x.size()), d_weights = on.nans(operands.weights.size());
  table().grouped_experts({.x = x.data(),
                           .groups = &groups,
                           .weights = factors.data(),
                           .expert_weights = sources.weights(),
                           .gate = gate.data(),
                           .up = up.data(),
                           .out = out.data(),
                           .tokens = s.tokens,
                           .hidden = s.hidden,
                           .n_chosen = s.n_chosen},
                          on.context);
  table().grouped_experts_backward({.x = x.data(),
                                    .groups = &groups,
                                    .weights = factors.data(),
                                    .expert_weights = sources.weights(),
                                    .gate = gate.data(),
                                    .up = up.data(),
                                    .d_out = d_out.data(),
                                    .dx = dx.data(),
                                    .d_weights = d_weights.data(),
                                    .sink = &sink,
                                    .tokens = s.tokens,
                                    .hidden = s.hidden,
                                    .n_chosen = s.n_chosen},
                                   on.context);
  EXPECT_EQ(dx.to_vector(), gradients.dx);

  Workspace workspace;
  const OpContext on_host{{1}, workspace};
  for (size_t matrix = 0; matrix < targets.size(); ++matrix) {
    SCOPED_TRACE(testing::Message() << "matrix " << matrix);
    const auto source = std::get<DenseWeight>(operands.storage[matrix].weight());
    const auto count = static_cast<size_t>(source.n * source.k);
    std::vector<int16_t> v(count);
    std::vector<float> alpha(count / static_cast<size_t>(group), 1), beta = alpha;
    std::vector<uint16_t> values(count);
    const SignRoundRows rows{0, source.n, group, v.data(), alpha.data(), beta.data()};
    if (gradients.matrices.contains(static_cast<int64_t>(matrix)) && matrix != 4) {
      const auto& d = gradients.matrices.at(static_cast<int64_t>(matrix));
      ref::sign_round_step(source, rule, rows, {d.data(), sizes}, on_host);
      ref::sign_round(source, rule, rows, {DType::bf16, values.data()}, on_host);
    }
    EXPECT_EQ(tuned[matrix].v.to_vector(), v);
    EXPECT_EQ(tuned[matrix].alpha.to_vector(), alpha);
    EXPECT_EQ(tuned[matrix].beta.to_vector(), beta);
    EXPECT_EQ(tuned[matrix].values.to_vector(), values);
  }
}

TEST(GroupedExpertsOnCpu, DoNotDependOnTheNumberOfThreads) {
  RandomValues random(7);
  const Operands operands({200, 160, 96, 6, 2}, WeightFormat::bf16, random);
  const Result one = operands.run(select_backend("cpu"), 1);
  for (const int threads : {2, 3}) {
    const Result several = operands.run(select_backend("cpu"), threads);
    EXPECT_EQ(several.out, one.out);
    EXPECT_EQ(several.dx, one.dx);
    EXPECT_EQ(several.d_weights, one.d_weights);
    EXPECT_EQ(several.matrices, one.matrices);
  }
}

}  // namespace
}  // namespace qround::ops
