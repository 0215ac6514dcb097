#include <gtest/gtest.h>

#include <cmath>

#include "ops/causal_attention.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Shape {
  int64_t sequences, tokens, heads, kv_heads, head_dim;
};

struct Gradients {
  std::vector<float> q, keys, values;
};

struct Operands {
  Shape s;
  float scale;
  std::vector<float> q, keys, values, d_out;

  Operands(const Shape& shape, RandomValues& random)
      : s(shape),
        scale(1 / std::sqrt(static_cast<float>(s.head_dim))),
        q(random.normal(s.sequences * s.tokens * s.heads * s.head_dim, 2)),
        keys(random.normal(s.sequences * s.tokens * s.kv_heads * s.head_dim)),
        values(random.normal(s.sequences * s.tokens * s.kv_heads * s.head_dim)),
        d_out(random.normal(s.sequences * s.tokens * s.heads * s.head_dim)) {}

  double loss(const Doubles& at_q, const Doubles& at_keys, const Doubles& at_values) const {
    double sum = 0;
    const int64_t kv_row = s.kv_heads * s.head_dim;
    for (int64_t row = 0; row < s.sequences * s.tokens; ++row)
      for (int64_t head = 0; head < s.heads; ++head) {
        const int64_t query = (row * s.heads + head) * s.head_dim;
        const int64_t kv = head / (s.heads / s.kv_heads) * s.head_dim;
        double total = 0, weighted = 0;
        for (int64_t key = row - row % s.tokens; key <= row; ++key) {
          double score = 0, value = 0;
          for (int64_t d = 0; d < s.head_dim; ++d) {
            score += at_q[query + d] * at_keys[key * kv_row + kv + d];
            value += at_values[key * kv_row + kv + d] * double{d_out[query + d]};
          }
          const double weight = std::exp(score * double{scale});
          total += weight;
          weighted += weight * value;
        }
        sum += weighted / total;
      }
    return sum;
  }

  Gradients run(const OpTable& table, int threads = 2) const {
    OnBackend on(table, threads);
    const auto q_there = on.copy_of(q), keys_there = on.copy_of(keys);
    const auto values_there = on.copy_of(values), d_out_there = on.copy_of(d_out);
    auto dq = on.nans(q.size()), d_keys = on.nans(keys.size()), d_values = on.nans(values.size());
    table.causal_attention_backward({.q = q_there.data(),
                                     .keys = keys_there.data(),
                                     .values = values_there.data(),
                                     .d_out = d_out_there.data(),
                                     .dq = dq.data(),
                                     .d_keys = d_keys.data(),
                                     .d_values = d_values.data(),
                                     .sequences = s.sequences,
                                     .tokens = s.tokens,
                                     .heads = s.heads,
                                     .kv_heads = s.kv_heads,
                                     .head_dim = s.head_dim,
                                     .scale = scale},
                                    on.context);
    return {dq.to_vector(), d_keys.to_vector(), d_values.to_vector()};
  }
};

class CausalAttentionBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(CausalAttentionBackward);

// Factors rounded to bf16 move scores of queries of size 2 by 1.6 times that error in standard
// deviation; four of them, twice for what the gradients of scores are made of, and the products'
// own come to 24 times, which is 3 of the 8 magnitudes of expect_gradient.
float rounding(const OpTable& table) { return 3 * factor_rounding(table); }

TEST_P(CausalAttentionBackward, EqualsFiniteDifferences) {
  RandomValues random(1);
  for (const Shape& shape : {Shape{2, 1, 2, 1, 3}, Shape{2, 7, 4, 2, 5}, Shape{1, 67, 2, 1, 2}}) {
    const Operands operands(shape, random);
    const Doubles q = to_doubles(operands.q), keys = to_doubles(operands.keys),
                  values = to_doubles(operands.values);
    const Doubles dq =
        central_differences([&](const Doubles& at) { return operands.loss(at, keys, values); }, q);
    const Doubles d_keys =
        central_differences([&](const Doubles& at) { return operands.loss(q, at, values); }, keys);
    const Doubles d_values =
        central_differences([&](const Doubles& at) { return operands.loss(q, keys, at); }, values);
    // With one token there is nothing to choose: the gradients of scores vanish, what rounding
    // leaves of them is of the size of the values'.
    const double magnitude = largest_magnitude(d_values);
    for (const OpTable* each : {&ref_table(), &table()}) {
      const Gradients actual = operands.run(*each);
      expect_gradient(actual.q, dq, shape.tokens, random.seed(), magnitude, rounding(*each));
      expect_gradient(actual.keys, d_keys, 2 * shape.tokens, random.seed(), magnitude,
                      rounding(*each));
      expect_gradient(actual.values, d_values, 2 * shape.tokens, random.seed(), 0, rounding(*each));
    }
  }
}

TEST_P(CausalAttentionBackward, EqualsDefinitionOverSeveralTiles) {
  RandomValues random(2);
  for (const Shape& shape :
       {Shape{2, 150, 6, 2, 40}, Shape{3, 64, 2, 2, 64}, Shape{1, 129, 3, 1, 33}}) {
    const Operands operands(shape, random);
    const Gradients expected = operands.run(ref_table());
    const Gradients actual = operands.run(table());
    const int64_t terms = shape.tokens * shape.heads / shape.kv_heads;
    expect_gradient(actual.q, to_doubles(expected.q), terms, random.seed(), 0, rounding(table()));
    expect_gradient(actual.keys, to_doubles(expected.keys), terms, random.seed(), 0,
                    rounding(table()));
    expect_gradient(actual.values, to_doubles(expected.values), terms, random.seed(), 0,
                    rounding(table()));
  }
}

TEST_P(CausalAttentionBackward, LargeScoresDoNotOverflow) {
  RandomValues random(3);
  Operands operands({1, 70, 1, 1, 16}, random);
  for (float& value : operands.q) value *= 1000;
  const Gradients d = operands.run(table());
  for (const auto* part : {&d.q, &d.keys, &d.values})
    for (float value : *part) ASSERT_TRUE(std::isfinite(value));
}

TEST(CausalAttentionBackwardOnCpu, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(4);
  const Operands operands({2, 100, 4, 2, 32}, random);
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [q, keys, values] = operands.run(select_backend("cpu"), threads);
    q.insert(q.end(), keys.begin(), keys.end());
    q.insert(q.end(), values.begin(), values.end());
    return q;
  });
}

}  // namespace
}  // namespace qround::ops
