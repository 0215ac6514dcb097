#include "eval/row_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"

namespace qround::eval {
namespace {

std::vector<float> random_logits(uint64_t seed, size_t n) {
  std::vector<float> logits(n);
  for (size_t i = 0; i < n; ++i) logits[i] = static_cast<float>(20 * random_unit(seed, 0, i) - 10);
  return logits;
}

// Straight from the definition, in long double.
double defined_divergence(const std::vector<float>& p, const std::vector<float>& q) {
  long double zp = 0, zq = 0, sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    zp += std::exp(static_cast<long double>(p[i]));
    zq += std::exp(static_cast<long double>(q[i]));
  }
  for (size_t i = 0; i < p.size(); ++i) {
    const long double log_p = p[i] - std::log(zp), log_q = q[i] - std::log(zq);
    sum += std::exp(log_p) * (log_p - log_q);
  }
  return static_cast<double>(sum);
}

double divergence(const std::vector<float>& p, const std::vector<float>& q) {
  return kl_divergence(p, log_partition(p), q, log_partition(q));
}

TEST(RowScores, DivergenceIsWhatItsDefinitionSays) {
  for (const size_t n : {2u, 7u, 1000u}) {
    const std::vector<float> p = random_logits(1, n), q = random_logits(2, n);
    EXPECT_NEAR(divergence(p, q), defined_divergence(p, q), 1e-12 * defined_divergence(p, q));
  }
}

TEST(RowScores, DivergenceOfAlmostEqualRowsIsSmallAndPositive) {
  const std::vector<float> p = random_logits(3, 500);
  std::vector<float> q = p;
  for (size_t i = 0; i < q.size(); i += 2) q[i] += 1e-6f;
  EXPECT_EQ(divergence(p, p), 0);
  EXPECT_GT(divergence(p, q), 0);
  EXPECT_NEAR(divergence(p, q), defined_divergence(p, q), 1e-17);
}

TEST(RowScores, DivergenceIgnoresAShiftOfAllLogits) {
  const std::vector<float> p = random_logits(4, 100);
  std::vector<float> q = p;
  for (float& logit : q) logit += 64;
  EXPECT_LT(divergence(p, q), 1e-10);
}

TEST(RowScores, RowsWithoutOverlapDivergeFinitely) {
  const std::vector<float> p = {0, -2000}, q = {-2000, 0};
  EXPECT_DOUBLE_EQ(divergence(p, q), 2000);
}

TEST(RowScores, NotANumberShowsInTheDivergence) {
  const std::vector<float> p = {0, 1}, q = {0, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isnan(divergence(p, q)));
}

TEST(RowScores, TopTokenIsTheFirstOfEquals) {
  EXPECT_EQ(top_token(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(top_token(std::vector<float>{std::numeric_limits<float>::quiet_NaN(), -5, -6}), 1);
}

}  // namespace
}  // namespace qround::eval
