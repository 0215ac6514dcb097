#include <gtest/gtest.h>

#include <cmath>

#include "ops/causal_attention.h"
#include "tests/ops/finite_difference.h"
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

  Gradients run(CausalAttentionBackwardFunction* backward, int threads) const {
    Workspace workspace;
    Gradients d{std::vector<float>(q.size(), NAN), std::vector<float>(keys.size(), NAN),
                std::vector<float>(values.size(), NAN)};
    backward({.q = q.data(),
              .keys = keys.data(),
              .values = values.data(),
              .d_out = d_out.data(),
              .dq = d.q.data(),
              .d_keys = d.keys.data(),
              .d_values = d.values.data(),
              .sequences = s.sequences,
              .tokens = s.tokens,
              .heads = s.heads,
              .kv_heads = s.kv_heads,
              .head_dim = s.head_dim,
              .scale = scale},
             {{threads}, workspace});
    return d;
  }
};

TEST(CausalAttentionBackward, EqualsFiniteDifferences) {
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
    for (auto* backward : {ref::causal_attention_backward, cpu::causal_attention_backward}) {
      const Gradients actual = operands.run(backward, 2);
      expect_gradient(actual.q, dq, shape.tokens, random.seed(), magnitude);
      expect_gradient(actual.keys, d_keys, 2 * shape.tokens, random.seed(), magnitude);
      expect_gradient(actual.values, d_values, 2 * shape.tokens, random.seed());
    }
  }
}

TEST(CausalAttentionBackward, FastVersionEqualsDefinitionOverSeveralTiles) {
  RandomValues random(2);
  for (const Shape& shape :
       {Shape{2, 150, 6, 2, 40}, Shape{3, 64, 2, 2, 64}, Shape{1, 129, 3, 1, 33}}) {
    const Operands operands(shape, random);
    const Gradients expected = operands.run(ref::causal_attention_backward, 1);
    const Gradients actual = operands.run(cpu::causal_attention_backward, 2);
    const int64_t terms = shape.tokens * shape.heads / shape.kv_heads;
    expect_gradient(actual.q, to_doubles(expected.q), terms, random.seed());
    expect_gradient(actual.keys, to_doubles(expected.keys), terms, random.seed());
    expect_gradient(actual.values, to_doubles(expected.values), terms, random.seed());
  }
}

TEST(CausalAttentionBackward, LargeScoresDoNotOverflow) {
  RandomValues random(3);
  Operands operands({1, 70, 1, 1, 16}, random);
  for (float& value : operands.q) value *= 1000;
  const Gradients d = operands.run(cpu::causal_attention_backward, 1);
  for (const auto* part : {&d.q, &d.keys, &d.values})
    for (float value : *part) ASSERT_TRUE(std::isfinite(value));
}

TEST(CausalAttentionBackward, DoesNotDependOnTheNumberOfThreads) {
  RandomValues random(4);
  const Operands operands({2, 100, 4, 2, 32}, random);
  expect_same_bits_for_all_thread_counts([&](int threads) {
    auto [q, keys, values] = operands.run(cpu::causal_attention_backward, threads);
    q.insert(q.end(), keys.begin(), keys.end());
    q.insert(q.end(), values.begin(), values.end());
    return q;
  });
}

}  // namespace
}  // namespace qround::ops
