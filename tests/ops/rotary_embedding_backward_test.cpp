#include <gtest/gtest.h>

#include <cmath>

#include "ops/rotary_embedding.h"
#include "tests/ops/finite_difference.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Operands {
  int64_t tokens = 5, heads = 3, head_dim = 11, rotary_dim = 6;
  std::vector<int64_t> positions = {0, 1, 7, 40, 3};
  std::vector<float> inverse_frequencies = {1.0f, 0.1f, 0.02f};
  std::vector<float> x, dy;

  explicit Operands(RandomValues& random)
      : x(random.normal(tokens * heads * head_dim)), dy(random.normal(tokens * heads * head_dim)) {}

  double loss(const Doubles& at) const {
    double sum = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(at.size()); ++i) {
      const int64_t dim = i % head_dim, half = rotary_dim / 2;
      double value = at[static_cast<size_t>(i)];
      if (dim < rotary_dim) {
        const int64_t token = i / (heads * head_dim);
        const double angle = static_cast<double>(positions[static_cast<size_t>(token)]) *
                             double{inverse_frequencies[static_cast<size_t>(dim % half)]};
        const bool first = dim < half;
        const double partner = at[static_cast<size_t>(first ? i + half : i - half)];
        value = value * std::cos(angle) + (first ? -1 : 1) * partner * std::sin(angle);
      }
      sum += double{dy[static_cast<size_t>(i)]} * value;
    }
    return sum;
  }

  std::vector<float> run(const OpTable& table, RotaryEmbeddingFunction* rotate,
                         const std::vector<float>& values) const {
    OnBackend on(table);
    auto turned = on.copy_of(values);
    const auto at = on.copy_of(positions);
    const auto frequencies = on.copy_of(inverse_frequencies);
    rotate({.x = turned.data(),
            .positions = at.data(),
            .inverse_frequencies = frequencies.data(),
            .tokens = tokens,
            .heads = heads,
            .head_dim = head_dim,
            .rotary_dim = rotary_dim},
           on.context);
    return turned.to_vector();
  }
};

class RotaryEmbeddingBackward : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(RotaryEmbeddingBackward);

TEST_P(RotaryEmbeddingBackward, EqualsFiniteDifferences) {
  RandomValues random(1);
  const Operands operands(random);
  const Doubles expected = central_differences([&](const Doubles& at) { return operands.loss(at); },
                                               to_doubles(operands.x));
  // Angles are products in f32, as the reference has them: half a unit of 40 at most.
  const float tolerance = 40 * kEps * 4;
  const std::vector<float> rounded(expected.begin(), expected.end());
  for (const OpTable* each : {&ref_table(), &table()})
    expect_close(operands.run(*each, each->rotary_embedding_backward, operands.dy), rounded,
                 tolerance, random.seed());
}

TEST_P(RotaryEmbeddingBackward, UndoesTheRotation) {
  RandomValues random(2);
  const Operands operands(random);
  for (const OpTable* each : {&ref_table(), &table()})
    expect_close(operands.run(*each, each->rotary_embedding_backward,
                              operands.run(*each, each->rotary_embedding, operands.x)),
                 operands.x, 16 * kEps, random.seed());
}

}  // namespace
}  // namespace qround::ops
