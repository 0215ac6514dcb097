#include "tokenizer/jinja_big_integer.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "base/error.h"

namespace qround::jinja {
namespace {

BigInteger big(const std::string& digits) {
  return digits[0] == '-' ? BigInteger::parse(digits.substr(1), 10)->negated()
                          : *BigInteger::parse(digits, 10);
}

TEST(JinjaBigInteger, ReadsAndWritesDecimals) {
  for (const char* digits :
       {"0", "7", "-7", "4294967296", "18446744073709551616", "-99999999999999999999",
        "1000000000000000000000000000000000000000000000"}) {
    EXPECT_EQ(big(digits).to_string(), digits);
  }
  EXPECT_EQ(BigInteger::parse("ff", 16)->to_string(), "255");
  EXPECT_FALSE(BigInteger::parse("12x", 10));
  EXPECT_FALSE(BigInteger::parse("2", 2));
  EXPECT_FALSE(BigInteger::parse("", 10));
}

TEST(JinjaBigInteger, KnowsWhatFitsInSixtyFourBits) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(BigInteger(kMin).to_int64(), kMin);
  EXPECT_EQ(BigInteger(kMax).to_int64(), kMax);
  EXPECT_FALSE((BigInteger(kMax) + BigInteger(1)).to_int64());
  EXPECT_FALSE((BigInteger(kMin) - BigInteger(1)).to_int64());
}

TEST(JinjaBigInteger, DividesTowardsMinusInfinity) {
  // Every combination of signs, against the identity and the sign rule of Python's % operator.
  for (const char* a :
       {"99999999999999999999", "-99999999999999999999", "5", "-5", "0", "18446744073709551616"}) {
    for (const char* b : {"7", "-7", "12345678901234567890", "-12345678901234567890", "1"}) {
      const auto [quotient, remainder] = BigInteger::divide(big(a), big(b));
      EXPECT_EQ(quotient * big(b) + remainder, big(a)) << a << " / " << b;
      EXPECT_TRUE(remainder.is_zero() || remainder.is_negative() == big(b).is_negative());
      const BigInteger size = remainder.is_negative() ? remainder.negated() : remainder;
      EXPECT_LT(size, big(b).is_negative() ? big(b).negated() : big(b));
    }
  }
}

TEST(JinjaBigInteger, ConvertsFromAndToDoubles) {
  EXPECT_EQ(BigInteger::from_double(1e20).to_string(), "100000000000000000000");
  EXPECT_EQ(BigInteger::from_double(-3.99).to_string(), "-3");
  EXPECT_EQ(BigInteger::from_double(0.5).to_string(), "0");
  EXPECT_EQ(BigInteger::from_double(9007199254740993.0).to_string(), "9007199254740992");
  EXPECT_EQ(big("100000000000000000000").to_double(), 1e20);
}

TEST(JinjaBigInteger, RefusesToGrowBeyondItsBound) {
  BigInteger value(3);
  EXPECT_THROW(
      {
        for (int i = 0; i < 100; ++i) value = value * value;
      },
      Error);
  EXPECT_THROW(BigInteger::parse(std::string(100'000, '9'), 10), Error);
}

}  // namespace
}  // namespace qround::jinja
