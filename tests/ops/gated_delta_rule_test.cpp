#include "ops/gated_delta_rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Shape {
  int64_t tokens, key_heads, value_heads, key_dim, value_dim;
};

std::ostream& operator<<(std::ostream& stream, const Shape& s) {
  return stream << "T " << s.tokens << " Hk " << s.key_heads << " Hv " << s.value_heads << " Dk "
                << s.key_dim << " Dv " << s.value_dim;
}

enum class Decay { strong, mixed, weak };

// Queries, keys and values lie side by side in a row, as the convolution leaves them.
struct Operands {
  Shape shape;
  int64_t row;  // floats of a token
  std::vector<float> qkv, log_decay, beta, state;

  Operands(const Shape& s, Decay decay, RandomValues& random)
      : shape(s), row(2 * s.key_heads * s.key_dim + s.value_heads * s.value_dim) {
    qkv = random.normal(s.tokens * row);
    for (int64_t t = 0; t < s.tokens; ++t)
      for (int64_t head = 0; head < 2 * s.key_heads; ++head)
        normalize(t * row + head * s.key_dim, head < s.key_heads);
    const int64_t gates = s.tokens * s.value_heads;
    const float low = decay == Decay::weak ? -1e-4f : -60, high = decay == Decay::strong ? -5 : 0;
    log_decay = random.uniform(gates, low, high);
    beta = random.uniform(gates, 0, 1);
    state = random.normal(s.value_heads * s.key_dim * s.value_dim);
  }

  void normalize(int64_t offset, bool is_query) {
    const auto values =
        std::span(qkv).subspan(static_cast<size_t>(offset), static_cast<size_t>(shape.key_dim));
    const float scale = is_query ? 1 / std::sqrt(static_cast<float>(shape.key_dim)) : 1.0f;
    const float length = norm(values);
    for (float& value : values) value *= scale / length;
  }

  GatedDeltaRuleArgs args(float* state_memory, float* out) const {
    const int64_t keys = shape.key_heads * shape.key_dim;
    return {.q = qkv.data(),
            .k = qkv.data() + keys,
            .v = qkv.data() + 2 * keys,
            .log_decay = log_decay.data(),
            .beta = beta.data(),
            .state = state_memory,
            .out = out,
            .tokens = shape.tokens,
            .key_heads = shape.key_heads,
            .value_heads = shape.value_heads,
            .key_dim = shape.key_dim,
            .value_dim = shape.value_dim,
            .q_stride = row,
            .k_stride = row,
            .v_stride = row};
  }

  size_t out_size() const {
    return static_cast<size_t>(shape.tokens * shape.value_heads * shape.value_dim);
  }
};

// An operation's operands in a backend's memory, and the arguments that point there.
struct OperandsOn {
  Buffer<float> qkv, log_decay, beta, state, out;
  GatedDeltaRuleArgs args;

  OperandsOn(const OnBackend& on, const Operands& operands)
      : qkv(on.copy_of(operands.qkv)),
        log_decay(on.copy_of(operands.log_decay)),
        beta(on.copy_of(operands.beta)),
        state(on.copy_of(operands.state)),
        out(on.nans(operands.out_size())),
        args(operands.args(state.data(), out.data())) {
    const int64_t keys = operands.shape.key_heads * operands.shape.key_dim;
    args.q = qkv.data();
    args.k = qkv.data() + keys;
    args.v = qkv.data() + 2 * keys;
    args.log_decay = log_decay.data();
    args.beta = beta.data();
  }

  // Tokens [begin, begin + count).
  GatedDeltaRuleArgs part(int64_t begin, int64_t count) const {
    GatedDeltaRuleArgs tokens = args;
    tokens.tokens = std::min(count, args.tokens - begin);
    tokens.q += begin * args.q_stride;
    tokens.k += begin * args.k_stride;
    tokens.v += begin * args.v_stride;
    tokens.log_decay += begin * args.value_heads;
    tokens.beta += begin * args.value_heads;
    tokens.out += begin * args.value_heads * args.value_dim;
    return tokens;
  }

  // The outputs, then the state left behind.
  std::vector<float> result() const {
    std::vector<float> both = out.to_vector();
    const std::vector<float> left = state.to_vector();
    both.insert(both.end(), left.begin(), left.end());
    return both;
  }
};

// In pieces of `piece` tokens.
std::vector<float> run(const OpTable& table, const Operands& operands, int threads,
                       int64_t piece = 1 << 30, bool many_rows = false) {
  OnBackend on(table, threads);
  on.context.many_rows = many_rows;
  const OperandsOn there(on, operands);
  for (int64_t begin = 0; begin < there.args.tokens; begin += piece)
    table.gated_delta_rule(there.part(begin, piece), on.context);
  return there.result();
}

// The recurrence of the header in double precision.
std::vector<float> run_in_double(const Operands& operands) {
  std::vector<float> result(operands.out_size() + operands.state.size());
  const GatedDeltaRuleArgs a = operands.args(nullptr, result.data());
  std::vector<double> state(operands.state.begin(), operands.state.end());
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t head = 0; head < a.value_heads; ++head) {
      const int64_t gate = t * a.value_heads + head;
      const int64_t key_offset = head / (a.value_heads / a.key_heads) * a.key_dim;
      const float *q = a.q + t * a.q_stride + key_offset, *k = a.k + t * a.k_stride + key_offset;
      const double decay = std::exp(static_cast<double>(a.log_decay[gate]));
      for (int64_t j = 0; j < a.value_dim; ++j) {
        double* s = state.data() + head * a.key_dim * a.value_dim + j;
        double memory = 0, out = 0;
        for (int64_t i = 0; i < a.key_dim; ++i) memory += (s[i * a.value_dim] *= decay) * k[i];
        const double v = a.v[t * a.v_stride + head * a.value_dim + j];
        const double change = a.beta[gate] * (v - memory);
        for (int64_t i = 0; i < a.key_dim; ++i) out += (s[i * a.value_dim] += k[i] * change) * q[i];
        a.out[gate * a.value_dim + j] = static_cast<float>(out);
      }
    }
  for (size_t i = 0; i < state.size(); ++i)
    result[operands.out_size() + i] = static_cast<float>(state[i]);
  return result;
}

// |k| = 1 and beta <= 1, so no update enlarges a column of the state beyond its old length plus the
// value; a token's rounding stays in the state until it decays: at most sqrt(T) steps add up.
float tolerance(const Operands& operands) {
  float largest = 0;
  for (float value : operands.qkv) largest = std::max(largest, std::abs(value));
  for (float value : operands.state) largest = std::max(largest, std::abs(value));
  const float column = largest * std::sqrt(static_cast<float>(operands.shape.key_dim));
  return sum_tolerance(operands.shape.key_dim, column) +
         sum_tolerance(operands.shape.tokens, column);
}

constexpr Shape kShapes[] = {{1, 1, 1, 8, 8},    {2, 2, 4, 16, 24},  {3, 1, 3, 20, 37},
                             {7, 2, 2, 32, 40},  {15, 1, 2, 16, 48}, {16, 1, 2, 16, 48},
                             {63, 1, 2, 64, 64}, {64, 2, 4, 32, 33}, {65, 1, 1, 128, 128},
                             {130, 2, 4, 24, 72}};

class GatedDeltaRule : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(GatedDeltaRule);

// check(operands, what the recurrence in double precision gives, seed) for every decay and shape.
template <class Check>
void for_each_recurrence(uint64_t seed, const Check& check) {
  for (const Decay decay : {Decay::strong, Decay::mixed, Decay::weak})
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(testing::Message() << shape << " decay " << static_cast<int>(decay));
      RandomValues random(seed++);
      const Operands operands(shape, decay, random);
      check(operands, run_in_double(operands), random.seed());
    }
}

TEST_P(GatedDeltaRule, EqualsTheRecurrenceInDoublePrecision) {
  for_each_recurrence(1, [&](const Operands& operands, const auto& expected, uint64_t seed) {
    for (const OpTable* each : {&ref_table(), &table()})
      expect_close(run(*each, operands, 2), expected, tolerance(operands), seed);
  });
}

// Chunks have TF32 factors. No token enlarges what an element of the state or of an output can be
// (see tolerance), so an element is off by a few roundings of the largest number there is.
TEST_P(GatedDeltaRule, OfManyRowsIsNearTheRecurrence) {
  for_each_recurrence(100, [&](const Operands& operands, const auto& expected, uint64_t seed) {
    const float largest = *std::max_element(expected.begin(), expected.end());
    const float rounding =
        table().name.starts_with("cuda") ? 8 * 0x1p-11f * largest : tolerance(operands);
    expect_close(run(table(), operands, 2, 1 << 30, true), expected, rounding, seed);
  });
}

TEST(GatedDeltaRuleOnCpu, BitsDoNotDependOnTheNumberOfThreads) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << shape);
    RandomValues random(3);
    const Operands operands(shape, Decay::mixed, random);
    expect_same_bits_for_all_thread_counts(
        [&](int threads) { return run(select_backend("cpu"), operands, threads); });
  }
}

// Stronger than needed, and worth keeping: a prompt in any chunks gives the very same state.
TEST_P(GatedDeltaRule, ASequenceInPiecesGivesTheBitsOfTheWhole) {
  RandomValues random(4);
  const Operands operands({130, 2, 4, 24, 72}, Decay::weak, random);
  const auto whole = run(table(), operands, 2);
  for (const int64_t piece : {1, 7, 64}) {
    SCOPED_TRACE(testing::Message() << "pieces of " << piece);
    EXPECT_EQ(run(table(), operands, 2, piece), whole);
  }
}

// Runs all tokens in steps of up to `step`: each step is tentative, `accepted(step index)` of its
// tokens are kept and run again from the next one on.
std::vector<float> run_tentatively(const OpTable& table, const Operands& operands, int64_t step,
                                   const std::function<int64_t(int64_t)>& accepted) {
  OnBackend on(table);
  const OperandsOn there(on, operands);
  const GatedDeltaRuleArgs& whole = there.args;
  const int64_t key_row = whole.key_heads * whole.key_dim;
  struct Kept {
    Buffer<float> k, change, decay;
  };
  Kept kept, next;
  DeltaRuleUpdates before;
  for (int64_t begin = 0, index = 0; begin < whole.tokens; ++index) {
    GatedDeltaRuleArgs part = there.part(begin, step);
    std::vector<float> keys;
    for (int64_t t = begin; t < begin + part.tokens; ++t) {
      const auto from = operands.qkv.begin() + t * operands.row + key_row;
      keys.insert(keys.end(), from, from + key_row);
    }
    const auto gates = static_cast<size_t>(part.tokens * whole.value_heads);
    next = {on.copy_of(keys), on.nans(gates * static_cast<size_t>(whole.value_dim)),
            on.nans(gates)};
    part.change = next.change.data();
    part.decay = next.decay.data();
    part.before = before;
    table.gated_delta_rule(part, on.context);
    std::swap(kept, next);
    before = {.k = kept.k.data(),
              .change = kept.change.data(),
              .decay = kept.decay.data(),
              .tokens = std::min(part.tokens, accepted(index))};
    begin += before.tokens;
  }
  GatedDeltaRuleArgs rest = whole;  // nothing but what is owed
  rest.tokens = 0;
  rest.before = before;
  table.gated_delta_rule(rest, on.context);
  return there.result();
}

TEST_P(GatedDeltaRule, TentativeTokensAcceptedInAnyNumberGiveTheBitsOfPlainOnes) {
  for (const Shape& shape : kShapes)
    for (const OpTable* each : {&ref_table(), &table()}) {
      SCOPED_TRACE(testing::Message() << shape);
      RandomValues random(6);
      const Operands operands(shape, Decay::mixed, random);
      const auto plain = run(*each, operands, 2);
      EXPECT_EQ(run_tentatively(*each, operands, 1, [](int64_t) { return 1; }), plain);
      EXPECT_EQ(run_tentatively(*each, operands, 4, [](int64_t) { return 4; }), plain);
      EXPECT_EQ(run_tentatively(*each, operands, 4, [](int64_t i) { return i % 5; }), plain);
      EXPECT_EQ(run_tentatively(*each, operands, 20, [](int64_t i) { return 1 + 7 * i % 20; }),
                plain);
    }
}

TEST_P(GatedDeltaRule, SequencesGiveWhatEachGivesAlone) {
  RandomValues random(7);
  const Shape shape{9, 1, 2, 20, 37};
  Operands both({2 * shape.tokens, 1, 2, 20, 37}, Decay::mixed, random);
  both.shape = shape;
  const auto more = random.normal(static_cast<int64_t>(both.state.size()));
  const size_t one_state = both.state.size();
  both.state.insert(both.state.end(), more.begin(), more.end());
  OnBackend on(table());
  OperandsOn there(on, both);
  auto out = on.nans(2 * both.out_size());
  there.args.out = out.data();
  there.args.sequences = 2;
  table().gated_delta_rule(there.args, on.context);
  const auto states = there.state.to_vector(), outs = out.to_vector();
  for (size_t sequence = 0; sequence < 2; ++sequence) {
    const auto part = [&](const std::vector<float>& all) {
      const auto size = static_cast<ptrdiff_t>(all.size() / 2);
      const auto first = all.begin() + static_cast<ptrdiff_t>(sequence) * size;
      return std::vector<float>(first, first + size);
    };
    Operands alone = both;
    for (auto* operand : {&alone.qkv, &alone.log_decay, &alone.beta, &alone.state})
      *operand = part(*operand);
    ASSERT_EQ(alone.state.size(), one_state);
    std::vector<float> expected = part(outs);
    const std::vector<float> state = part(states);
    expected.insert(expected.end(), state.begin(), state.end());
    EXPECT_EQ(run(table(), alone, 2), expected);
  }
}

TEST_P(GatedDeltaRule, DecayToNothingForgetsTheState) {
  RandomValues random(5);
  Operands operands({20, 1, 1, 16, 16}, Decay::mixed, random);
  std::fill(operands.log_decay.begin(), operands.log_decay.end(), -1e30f);
  const auto before = run(table(), operands, 1);
  for (float& value : operands.state) value += 1000;
  const auto after = run(table(), operands, 1);
  EXPECT_EQ(before, after);
  for (float value : after) EXPECT_TRUE(std::isfinite(value));
}

std::vector<float> run_gates(const OpTable& table, const std::vector<float>& a,
                             const std::vector<float>& b, const std::vector<float>& a_log,
                             const std::vector<float>& dt_bias, int threads) {
  OnBackend on(table, threads);
  const auto heads = static_cast<int64_t>(a_log.size());
  const auto a_ = on.copy_of(a), b_ = on.copy_of(b), a_log_ = on.copy_of(a_log),
             dt_bias_ = on.copy_of(dt_bias);
  auto both = on.nans(2 * a.size());
  table.delta_rule_gates({.a = a_.data(),
                          .b = b_.data(),
                          .a_log = a_log_.data(),
                          .dt_bias = dt_bias_.data(),
                          .log_decay = both.data(),
                          .beta = both.data() + a.size(),
                          .tokens = a_.size() / heads,
                          .value_heads = heads},
                         on.context);
  return both.to_vector();
}

class DeltaRuleGates : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(DeltaRuleGates);

TEST_P(DeltaRuleGates, EqualsDefinitionOverTheWholeRange) {
  RandomValues random(6);
  for (const int64_t heads : {1, 3, 32, 37})
    for (const int64_t tokens : {1, 2, 65, 600}) {
      auto a = random.uniform(tokens * heads, -60, 60);
      auto b = random.uniform(tokens * heads, -120, 120);
      a[0] = 20;  // where softplus becomes linear
      const auto a_log = random.uniform(heads, -5, 3), dt_bias = random.normal(heads);
      const auto expected = run_gates(ref_table(), a, b, a_log, dt_bias, 1);
      std::vector<float> tolerances;
      for (float value : expected)
        tolerances.push_back(16 * kEps * std::abs(value) + std::numeric_limits<float>::min());
      expect_close(run_gates(table(), a, b, a_log, dt_bias, 2), expected, tolerances,
                   random.seed());
      expect_same_bits_for_all_thread_counts(
          [&](int threads) { return run_gates(table(), a, b, a_log, dt_bias, threads); });
    }
}

}  // namespace
}  // namespace qround::ops
