#include "ops/causal_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/ops/expect_close.h"
#include "tests/ops/on_backend.h"
#include "tests/ops/random_values.h"

namespace qround::ops {
namespace {

struct Shape {
  int64_t tokens, context, heads, kv_heads, head_dim;
};

std::ostream& operator<<(std::ostream& stream, const Shape& s) {
  return stream << "T " << s.tokens << " S " << s.context << " Hq " << s.heads << " Hkv "
                << s.kv_heads << " D " << s.head_dim;
}

struct Operands {
  std::vector<float> q, keys, values;

  Operands(const Shape& s, RandomValues& random, float size = 1)
      : q(random.normal(s.tokens * s.heads * s.head_dim, size)),
        keys(random.normal(s.context * s.kv_heads * s.head_dim, size)),
        values(random.normal(s.context * s.kv_heads * s.head_dim)) {}
};

CausalAttentionArgs args_of(const Shape& s) {
  return {.tokens = s.tokens,
          .context = s.context,
          .heads = s.heads,
          .kv_heads = s.kv_heads,
          .head_dim = s.head_dim,
          .scale = 1 / std::sqrt(static_cast<float>(s.head_dim))};
}

std::vector<float> run(const OpTable& table, const Operands& operands, const Shape& s,
                       int threads) {
  OnBackend on(table, threads);
  const auto q = on.copy_of(operands.q), keys = on.copy_of(operands.keys);
  const auto values = on.copy_of(operands.values);
  auto out = on.nans(operands.q.size());
  CausalAttentionArgs args = args_of(s);
  args.q = q.data();
  args.keys = keys.data();
  args.values = values.data();
  args.out = out.data();
  table.causal_attention(args, on.context);
  return out.to_vector();
}

class CausalAttention : public ForEachBackend {};
QROUND_FOR_EACH_BACKEND(CausalAttention);

// A score's error moves its weight by as much; the weights sum to one, so the output moves by twice
// that times the largest value, and the sums over keys add their own share. `rounding`: the
// relative error of the factors of both products.
float tolerance(const Shape& s, const Operands& operands, float rounding) {
  const auto dim = static_cast<size_t>(s.head_dim);
  float q_norm = 0, key_norm = 0, largest = 0;
  for (size_t i = 0; i < operands.q.size(); i += dim)
    q_norm = std::max(q_norm, norm(std::span(operands.q).subspan(i, dim)));
  for (size_t i = 0; i < operands.keys.size(); i += dim)
    key_norm = std::max(key_norm, norm(std::span(operands.keys).subspan(i, dim)));
  for (float value : operands.values) largest = std::max(largest, std::abs(value));
  const float score = q_norm * key_norm / std::sqrt(static_cast<float>(s.head_dim));
  const float of_score = sum_tolerance(s.head_dim, score) + 2 * rounding * score;
  return 2 * largest * of_score + sum_tolerance(s.context, largest) + 2 * rounding * largest;
}

constexpr Shape kShapes[] = {{1, 1, 1, 1, 8},     {1, 2, 4, 2, 16},     {2, 2, 4, 1, 24},
                             {3, 7, 6, 2, 20},    {7, 7, 2, 2, 64},     {64, 64, 4, 2, 32},
                             {65, 65, 8, 1, 16},  {130, 130, 4, 2, 40}, {1, 129, 16, 2, 64},
                             {1, 3000, 4, 2, 16}, {5, 2500, 4, 1, 33},  {3, 1025, 2, 1, 8},
                             {65, 200, 3, 3, 17}, {70, 1100, 16, 2, 8}, {1, 1024, 16, 2, 256}};

TEST_P(CausalAttention, EqualsDefinitionOnOddShapes) {
  uint64_t seed = 1;
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << shape);
    RandomValues random(seed++);
    const Operands operands(shape, random);
    expect_close(run(table(), operands, shape, 2), run(ref_table(), operands, shape, 1),
                 tolerance(shape, operands, factor_rounding(table())), random.seed());
  }
}

TEST(CausalAttentionOnCpu, BitsDoNotDependOnTheNumberOfThreads) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << shape);
    RandomValues random(3);
    const Operands operands(shape, random);
    expect_same_bits_for_all_thread_counts(
        [&](int threads) { return run(select_backend("cpu"), operands, shape, threads); });
  }
}

// Scores of some hundred: exponentials of anything but the difference to the maximum overflow.
TEST_P(CausalAttention, LargeScoresNeitherOverflowNorVanish) {
  const Shape shape{.tokens = 40, .context = 300, .heads = 2, .kv_heads = 1, .head_dim = 16};
  RandomValues random(4);
  const Operands operands(shape, random, 12);
  const auto out = run(table(), operands, shape, 2);
  for (float value : out) ASSERT_TRUE(std::isfinite(value));
  expect_close(out, run(ref_table(), operands, shape, 1),
               tolerance(shape, operands, factor_rounding(table())), random.seed());
}

// The rows [begin, end) of a sequence, as a call with the cache up to there.
std::vector<float> run_rows(const OpTable& table, const Operands& whole, const Shape& shape,
                            int64_t begin, int64_t end) {
  const int64_t q_row = shape.heads * shape.head_dim, kv_row = shape.kv_heads * shape.head_dim;
  Operands part = whole;
  part.q.assign(whole.q.begin() + begin * q_row, whole.q.begin() + end * q_row);
  part.keys.resize(static_cast<size_t>(end * kv_row));
  part.values.resize(static_cast<size_t>(end * kv_row));
  Shape rows = shape;
  rows.tokens = end - begin;
  rows.context = end;
  return run(table, part, rows, 2);
}

TEST_P(CausalAttention, ASequenceInPiecesWithItsCacheGivesTheBitsOfTheWhole) {
  const Shape whole{.tokens = 200, .context = 200, .heads = 4, .kv_heads = 2, .head_dim = 32};
  RandomValues random(5);
  const Operands operands(whole, random);
  const auto expected = run(table(), operands, whole, 2);
  for (const int64_t piece : {1, 7, 64}) {
    std::vector<float> out;
    for (int64_t begin = 0; begin < whole.tokens; begin += piece) {
      const auto rows =
          run_rows(table(), operands, whole, begin, std::min(whole.tokens, begin + piece));
      out.insert(out.end(), rows.begin(), rows.end());
    }
    EXPECT_EQ(out, expected);
  }
}

// Around the ends of ranges of keys, where ranges are tasks of their own and where they are not.
TEST_P(CausalAttention, TheBitsOfAQueryDoNotDependOnTheQueriesBesideIt) {
  const int64_t length = is_emulated(table()) ? 1300 : 4200;
  const Shape whole{.tokens = length, .context = length, .heads = 4, .kv_heads = 1, .head_dim = 8};
  RandomValues random(8);
  const Operands operands(whole, random);
  const int64_t row = whole.heads * whole.head_dim;
  const auto expected = run(table(), operands, whole, 2);
  for (const int64_t begin : {0, 1, 1020, 1023, 1024, 1025, 2046, 4090, 4198})
    for (const int64_t count : {1, 2, 5, 100, 600}) {
      if (begin >= length || (is_emulated(table()) && count > 5 && begin != 1020)) continue;
      SCOPED_TRACE(testing::Message() << count << " queries from " << begin << " on");
      const int64_t end = std::min(whole.tokens, begin + count);
      EXPECT_EQ(run_rows(table(), operands, whole, begin, end),
                std::vector<float>(expected.begin() + begin * row, expected.begin() + end * row));
    }
}

TEST_P(CausalAttention, KeysInPagesGiveTheBitsOfKeysInOnePiece) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << shape);
    RandomValues random(9);
    const Operands operands(shape, random);
    const int64_t row = shape.kv_heads * shape.head_dim, page = kKvPageTokens * row;
    // Keys and values of a page beside each other, with something of another layer before them.
    const int64_t n_pages = (shape.context + kKvPageTokens - 1) / kKvPageTokens;
    std::vector<std::vector<float>> store;
    for (int64_t p = 0; p < n_pages; ++p) {
      std::vector<float>& of_page = store.emplace_back(static_cast<size_t>(3 + 2 * page), NAN);
      const int64_t rows = std::min(kKvPageTokens, shape.context - p * kKvPageTokens);
      std::copy_n(operands.keys.begin() + p * page, rows * row, of_page.begin() + 3);
      std::copy_n(operands.values.begin() + p * page, rows * row, of_page.begin() + 3 + page);
    }
    for (const OpTable* each : {&ref_table(), &table()}) {
      OnBackend on(*each);
      std::vector<Buffer<float>> store_there;
      std::vector<const float*> pages;
      for (const auto& of_page : store)
        pages.push_back(store_there.emplace_back(on.copy_of(of_page)).data());
      const auto pages_there = on.copy_of(pages);
      const auto q = on.copy_of(operands.q);
      auto out = on.nans(operands.q.size());
      CausalAttentionArgs args = args_of(shape);
      args.q = q.data();
      args.pages = pages_there.data();
      args.key_offset = 3;
      args.value_offset = 3 + page;
      args.out = out.data();
      each->causal_attention(args, on.context);
      EXPECT_EQ(out.to_vector(), run(*each, operands, shape, 2));
    }
  }
}

TEST_P(CausalAttention, NoQuerySeesALaterKey) {
  const Shape shape{.tokens = 150, .context = 150, .heads = 2, .kv_heads = 1, .head_dim = 16};
  RandomValues random(6);
  Operands operands(shape, random);
  const auto before = run(table(), operands, shape, 1);
  const size_t changed = 100 * 16;  // key and value 100 and later
  for (size_t i = changed; i < operands.keys.size(); ++i)
    operands.keys[i] = operands.values[i] = 1e30f;
  const auto after = run(table(), operands, shape, 1);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 100 * 2 * 16, after.begin()));
  EXPECT_NE(before[100 * 2 * 16], after[100 * 2 * 16]);
}

TEST_P(CausalAttention, NotANumberIsNotHidden) {
  const Shape shape{.tokens = 1, .context = 40, .heads = 1, .kv_heads = 1, .head_dim = 16};
  RandomValues random(7);
  Operands operands(shape, random);
  operands.q[3] = NAN;
  for (float value : run(table(), operands, shape, 1)) EXPECT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace qround::ops
