#include <gtest/gtest.h>

#include <cmath>

#include "ops/gated_delta_rule.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct GateOperands {
  int64_t tokens, heads;
  std::vector<float> a, b, a_log, dt_bias, d_log_decay, d_beta;

  GateOperands(int64_t of_tokens, int64_t of_heads, RandomValues& random)
      : tokens(of_tokens),
        heads(of_heads),
        a(random.normal(tokens * heads, 8)),  // beyond softplus' linear limit of 20 now and then
        b(random.normal(tokens * heads, 2)),
        a_log(random.normal(heads)),
        dt_bias(random.normal(heads)),
        d_log_decay(random.normal(tokens * heads)),
        d_beta(random.normal(tokens * heads)) {}

  double loss(const Doubles& at_a, const Doubles& at_b, const Doubles& at_a_log,
              const Doubles& at_dt_bias) const {
    double sum = 0;
    for (size_t i = 0; i < at_a.size(); ++i) {
      const size_t head = i % static_cast<size_t>(heads);
      const double softplus = std::log1p(std::exp(at_a[i] + at_dt_bias[head]));
      sum -= double{d_log_decay[i]} * std::exp(at_a_log[head]) * softplus;
      sum += double{d_beta[i]} / (1 + std::exp(-at_b[i]));
    }
    return sum;
  }

  struct Gradients {
    std::vector<float> a, b, a_log, dt_bias;
  };
  // In the places of a and b.
  Gradients run(const OpTable& table, int threads) const {
    OnBackend on(table, threads);
    auto a_ = on.copy_of(a), b_ = on.copy_of(b);
    const auto a_log_ = on.copy_of(a_log), dt_bias_ = on.copy_of(dt_bias);
    const auto d_decay = on.copy_of(d_log_decay), d_beta_ = on.copy_of(d_beta);
    auto d_a_log = on.zeros(a_log.size()), d_dt_bias = on.zeros(a_log.size());
    table.delta_rule_gates_backward({.a = a_.data(),
                                     .b = b_.data(),
                                     .a_log = a_log_.data(),
                                     .dt_bias = dt_bias_.data(),
                                     .d_log_decay = d_decay.data(),
                                     .d_beta = d_beta_.data(),
                                     .da = a_.data(),
                                     .db = b_.data(),
                                     .d_a_log = d_a_log.data(),
                                     .d_dt_bias = d_dt_bias.data(),
                                     .tokens = tokens,
                                     .value_heads = heads},
                                    on.context);
    return {a_.to_vector(), b_.to_vector(), d_a_log.to_vector(), d_dt_bias.to_vector()};
  }
};

class DeltaRuleGatesBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(DeltaRuleGatesBackward);

TEST_P(DeltaRuleGatesBackward, EqualsFiniteDifferences) {
  RandomValues random(1);
  for (const int64_t heads : {2, 16, 19}) {
    const GateOperands operands(6, heads, random);
    const Doubles a = to_doubles(operands.a), b = to_doubles(operands.b),
                  a_log = to_doubles(operands.a_log), dt_bias = to_doubles(operands.dt_bias);
    const auto loss = [&](const Doubles& at_a, const Doubles& at_b, const Doubles& at_a_log,
                          const Doubles& at_dt) {
      return operands.loss(at_a, at_b, at_a_log, at_dt);
    };
    const Doubles da =
        central_differences([&](const Doubles& at) { return loss(at, b, a_log, dt_bias); }, a);
    const Doubles db =
        central_differences([&](const Doubles& at) { return loss(a, at, a_log, dt_bias); }, b);
    const Doubles d_a_log =
        central_differences([&](const Doubles& at) { return loss(a, b, at, dt_bias); }, a_log);
    const Doubles d_dt_bias =
        central_differences([&](const Doubles& at) { return loss(a, b, a_log, at); }, dt_bias);
    for (const OpTable* each : {&ref_table(), &table()}) {
      const auto actual = operands.run(*each, 2);
      expect_gradient(actual.a, da, 1, random.seed());
      expect_gradient(actual.b, db, 1, random.seed());
      expect_gradient(actual.a_log, d_a_log, 6, random.seed());
      expect_gradient(actual.dt_bias, d_dt_bias, 6, random.seed());
    }
  }
}

TEST_P(DeltaRuleGatesBackward, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(2);
  const GateOperands operands(2000, 32, random);
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [a, b, a_log, dt_bias] = operands.run(table(), threads);
    a.insert(a.end(), b.begin(), b.end());
    a.insert(a.end(), a_log.begin(), a_log.end());
    return a;
  });
}

struct Shape {
  int64_t sequences, tokens, key_heads, value_heads, key_dim, value_dim;
};

// That of log_decay is a difference of sums of the size of beta's: strong decay leaves little of
// it.
struct Gradients {
  std::vector<float> q, k, v, log_decay, beta;

  std::vector<float> joined() const {
    std::vector<float> all;
    for (const auto* part : {&q, &k, &v, &log_decay, &beta})
      all.insert(all.end(), part->begin(), part->end());
    return all;
  }
};

// Queries, keys and values have rows of their own, one float wider than needed.
struct Operands {
  Shape s;
  int64_t key_stride, value_stride, rows;
  std::vector<float> q, k, v, log_decay, beta, d_out;

  Operands(const Shape& shape, float weakest_decay, float strongest_decay, RandomValues& random)
      : s(shape),
        key_stride(s.key_heads * s.key_dim + 1),
        value_stride(s.value_heads * s.value_dim + 1),
        rows(s.sequences * s.tokens),
        q(random.normal(rows * key_stride, 1 / static_cast<float>(s.key_dim))),
        k(random.normal(rows * key_stride)),
        v(random.normal(rows * value_stride)),
        log_decay(random.uniform(rows * s.value_heads, strongest_decay, weakest_decay)),
        beta(random.uniform(rows * s.value_heads, 0, 1)),
        d_out(random.normal(rows * s.value_heads * s.value_dim)) {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t head = 0; head < s.key_heads; ++head) {
        const auto key =
            std::span(k).subspan(static_cast<size_t>(row * key_stride + head * s.key_dim),
                                 static_cast<size_t>(s.key_dim));
        const float length = norm(key);
        for (float& value : key) value /= length;
      }
  }

  // The recurrence token by token.
  double loss(const Doubles& at_q, const Doubles& at_k, const Doubles& at_v,
              const Doubles& at_log_decay, const Doubles& at_beta) const {
    double sum = 0;
    Doubles state(static_cast<size_t>(s.key_dim * s.value_dim)), d(s.value_dim);
    for (int64_t sequence = 0; sequence < s.sequences; ++sequence)
      for (int64_t head = 0; head < s.value_heads; ++head) {
        std::fill(state.begin(), state.end(), 0);
        const int64_t key_head = head / (s.value_heads / s.key_heads);
        for (int64_t t = 0; t < s.tokens; ++t) {
          const int64_t row = sequence * s.tokens + t, gate = row * s.value_heads + head;
          const double* query = at_q.data() + row * key_stride + key_head * s.key_dim;
          const double* key = at_k.data() + row * key_stride + key_head * s.key_dim;
          const double* value = at_v.data() + row * value_stride + head * s.value_dim;
          const double decay = std::exp(at_log_decay[gate]);
          for (double& element : state) element *= decay;
          for (int64_t j = 0; j < s.value_dim; ++j) {
            double memory = 0;
            for (int64_t i = 0; i < s.key_dim; ++i) memory += state[i * s.value_dim + j] * key[i];
            d[j] = at_beta[gate] * (value[j] - memory);
          }
          for (int64_t j = 0; j < s.value_dim; ++j) {
            double out = 0;
            for (int64_t i = 0; i < s.key_dim; ++i) {
              state[i * s.value_dim + j] += key[i] * d[j];
              out += state[i * s.value_dim + j] * query[i];
            }
            sum += out * double{d_out[gate * s.value_dim + j]};
          }
        }
      }
    return sum;
  }

  Gradients run(const OpTable& table, int threads = 2) const {
    OnBackend on(table, threads);
    const auto q_ = on.copy_of(q), k_ = on.copy_of(k), v_ = on.copy_of(v);
    const auto log_decay_ = on.copy_of(log_decay), beta_ = on.copy_of(beta);
    const auto d_out_ = on.copy_of(d_out);
    // What lies between rows is not written.
    auto dq = on.zeros(q.size()), dk = on.zeros(k.size()), dv = on.zeros(v.size());
    auto d_log_decay = on.nans(log_decay.size()), d_beta = on.nans(beta.size());
    table.gated_delta_rule_backward({.q = q_.data(),
                                     .k = k_.data(),
                                     .v = v_.data(),
                                     .log_decay = log_decay_.data(),
                                     .beta = beta_.data(),
                                     .d_out = d_out_.data(),
                                     .dq = dq.data(),
                                     .dk = dk.data(),
                                     .dv = dv.data(),
                                     .d_log_decay = d_log_decay.data(),
                                     .d_beta = d_beta.data(),
                                     .sequences = s.sequences,
                                     .tokens = s.tokens,
                                     .key_heads = s.key_heads,
                                     .value_heads = s.value_heads,
                                     .key_dim = s.key_dim,
                                     .value_dim = s.value_dim,
                                     .q_stride = key_stride,
                                     .k_stride = key_stride,
                                     .v_stride = value_stride,
                                     .dq_stride = key_stride,
                                     .dk_stride = key_stride,
                                     .dv_stride = value_stride},
                                    on.context);
    return {dq.to_vector(), dk.to_vector(), dv.to_vector(), d_log_decay.to_vector(),
            d_beta.to_vector()};
  }
};

class GatedDeltaRuleBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(GatedDeltaRuleBackward);

// On tensor cores factors are TF32, two bits more than bf16, of eight products one behind the
// other.
float rounding(const OpTable& table) { return 8 * factor_rounding(table) / 4; }

void expect_close_gradients(const Gradients& actual, const Gradients& expected, int64_t terms,
                            uint64_t seed, float factor_error) {
  const auto compare = [&](const std::vector<float>& part, const std::vector<float>& of_expected,
                           double magnitude) {
    expect_gradient(part, to_doubles(of_expected), terms, seed, magnitude, factor_error);
  };
  compare(actual.q, expected.q, 0);
  compare(actual.k, expected.k, 0);
  compare(actual.v, expected.v, 0);
  compare(actual.log_decay, expected.log_decay, largest_magnitude(to_doubles(expected.beta)));
  compare(actual.beta, expected.beta, 0);
}

void expect_finite_differences(const OpTable& table, const Operands& operands, uint64_t seed) {
  const Doubles q = to_doubles(operands.q), k = to_doubles(operands.k), v = to_doubles(operands.v),
                log_decay = to_doubles(operands.log_decay), beta = to_doubles(operands.beta);
  const auto loss = [&](const Doubles& at_q, const Doubles& at_k, const Doubles& at_v,
                        const Doubles& at_decay, const Doubles& at_beta) {
    return operands.loss(at_q, at_k, at_v, at_decay, at_beta);
  };
  const Doubles dq =
      central_differences([&](const Doubles& at) { return loss(at, k, v, log_decay, beta); }, q);
  const Doubles dk =
      central_differences([&](const Doubles& at) { return loss(q, at, v, log_decay, beta); }, k);
  const Doubles dv =
      central_differences([&](const Doubles& at) { return loss(q, k, at, log_decay, beta); }, v);
  const Doubles d_log_decay =
      central_differences([&](const Doubles& at) { return loss(q, k, v, at, beta); }, log_decay);
  const Doubles d_beta =
      central_differences([&](const Doubles& at) { return loss(q, k, v, log_decay, at); }, beta);
  const int64_t terms = operands.s.tokens * std::max(operands.s.key_dim, operands.s.value_dim);
  const auto floats = [](const Doubles& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  const Gradients expected{floats(dq), floats(dk), floats(dv), floats(d_log_decay), floats(d_beta)};
  for (const OpTable* each : {&ref_table(), &table})
    expect_close_gradients(operands.run(*each), expected, terms, seed, rounding(*each));
}

TEST_P(GatedDeltaRuleBackward, EqualsFiniteDifferencesInsideAChunk) {
  RandomValues random(3);
  for (const int64_t tokens : {1, 2, 9})
    expect_finite_differences(table(), {{2, tokens, 2, 4, 5, 3}, -0.01f, -2, random},
                              random.seed());
}

TEST_P(GatedDeltaRuleBackward, EqualsFiniteDifferencesAcrossChunks) {
  RandomValues random(4);
  expect_finite_differences(table(), {{1, 70, 1, 3, 3, 4}, -0.001f, -0.1f, random}, random.seed());
  expect_finite_differences(table(), {{1, 130, 1, 1, 4, 2}, -0.001f, -0.02f, random},
                            random.seed());
}

TEST_P(GatedDeltaRuleBackward, EqualsDefinitionForEveryDecay) {
  RandomValues random(5);
  for (const Shape& shape : {Shape{2, 200, 2, 6, 48, 64}, Shape{1, 64, 1, 2, 32, 20},
                             Shape{3, 129, 2, 2, 64, 32}, Shape{1, 70, 1, 1, 128, 128}})
    for (const auto& [weak, strong] : {std::pair(0.0f, -60.0f), {-5.0f, -60.0f}, {0.0f, -1e-4f}}) {
      if (is_emulated(table()) && shape.sequences > 1 && weak < 0) continue;
      SCOPED_TRACE(testing::Message() << shape.tokens << " tokens, decay " << strong);
      const Operands operands(shape, weak, strong, random);
      expect_close_gradients(operands.run(table()), operands.run(ref_table()),
                             shape.tokens * std::max(shape.key_dim, shape.value_dim), random.seed(),
                             rounding(table()));
    }
}

TEST(GatedDeltaRuleBackwardOnCpu, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(6);
  const Operands operands({2, 100, 3, 6, 32, 32}, 0, -3, random);
  expect_same_bits_for_all_thread_counts(
      [&](int threads) { return operands.run(select_backend("cpu"), threads).joined(); });
}

TEST_P(GatedDeltaRuleBackward, SequencesDoNotTouchEachOther) {
  RandomValues random(7);
  const Operands both({2, 80, 1, 2, 16, 16}, 0, -1, random);
  Operands second = both;
  second.s.sequences = 1;
  const auto drop_first = [](std::vector<float>& values) {
    values.erase(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2));
  };
  for (auto* part :
       {&second.q, &second.k, &second.v, &second.log_decay, &second.beta, &second.d_out})
    drop_first(*part);
  Gradients of_both = both.run(table());
  for (auto* part : {&of_both.q, &of_both.k, &of_both.v, &of_both.log_decay, &of_both.beta})
    drop_first(*part);
  EXPECT_EQ(of_both.joined(), second.run(table()).joined());
}

}  // namespace
}  // namespace qround::ops
