#include "tokenizer/jinja_big_integer.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace qround::jinja {
namespace {

constexpr int kLimbBits = 32;

void trim(std::vector<uint32_t>& limbs) {
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

}  // namespace

BigInteger::BigInteger(int64_t value) : negative_(value < 0) {
  const uint64_t magnitude =
      negative_ ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  limbs_ = {static_cast<uint32_t>(magnitude), static_cast<uint32_t>(magnitude >> kLimbBits)};
  trim(limbs_);
}

BigInteger::BigInteger(Limbs limbs, bool negative) : limbs_(std::move(limbs)) {
  trim(limbs_);
  negative_ = negative && !limbs_.empty();
  if (bit_length() > kMaxBits) throw Error("integer too large");
}

size_t BigInteger::bit_length() const {
  if (limbs_.empty()) return 0;
  return limbs_.size() * kLimbBits - static_cast<size_t>(std::countl_zero(limbs_.back()));
}

BigInteger BigInteger::negated() const { return BigInteger(limbs_, !negative_); }

void BigInteger::multiply_add(Limbs& limbs, uint32_t factor, uint32_t addend) {
  uint64_t carry = addend;
  for (uint32_t& limb : limbs) {
    carry += uint64_t{limb} * factor;
    limb = static_cast<uint32_t>(carry);
    carry >>= kLimbBits;
  }
  if (carry != 0) limbs.push_back(static_cast<uint32_t>(carry));
}

uint32_t BigInteger::divide_by_small(Limbs& limbs, uint32_t divisor) {
  uint64_t remainder = 0;
  for (auto limb = limbs.rbegin(); limb != limbs.rend(); ++limb) {
    remainder = remainder << kLimbBits | *limb;
    *limb = static_cast<uint32_t>(remainder / divisor);
    remainder %= divisor;
  }
  trim(limbs);
  return static_cast<uint32_t>(remainder);
}

std::optional<BigInteger> BigInteger::parse(std::string_view digits, int base) {
  if (digits.empty()) return std::nullopt;
  Limbs limbs;
  for (char c : digits) {
    const int digit = digit_value(c);
    if (digit >= base) return std::nullopt;
    multiply_add(limbs, static_cast<uint32_t>(base), static_cast<uint32_t>(digit));
    if (limbs.size() * kLimbBits > kMaxBits + 2 * kLimbBits) throw Error("integer too large");
  }
  return BigInteger(std::move(limbs), false);
}

BigInteger BigInteger::from_double(double value) {
  int exponent = 0;
  const double mantissa = std::frexp(std::trunc(std::abs(value)), &exponent);
  Limbs limbs;
  if (mantissa != 0) {
    const auto bits = static_cast<uint64_t>(std::ldexp(mantissa, 64));
    // value = bits * 2^(exponent - 64)
    const int shift = exponent - 64;
    if (shift <= 0) {
      const uint64_t whole = shift <= -64 ? 0 : bits >> -shift;
      limbs = {static_cast<uint32_t>(whole), static_cast<uint32_t>(whole >> kLimbBits)};
    } else {
      limbs = {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> kLimbBits)};
      for (int i = 0; i < shift; ++i) multiply_add(limbs, 2, 0);
    }
  }
  return BigInteger(std::move(limbs), value < 0);
}

std::optional<int64_t> BigInteger::to_int64() const {
  if (limbs_.size() > 2) return std::nullopt;
  const uint64_t low = limbs_.empty() ? 0 : limbs_[0];
  const uint64_t high = limbs_.size() < 2 ? 0 : limbs_[1];
  const uint64_t magnitude = high << kLimbBits | low;
  constexpr uint64_t kMinMagnitude = uint64_t{1} << 63;
  if (negative_) {
    if (magnitude > kMinMagnitude) return std::nullopt;
    return static_cast<int64_t>(~magnitude + 1);
  }
  if (magnitude >= kMinMagnitude) return std::nullopt;
  return static_cast<int64_t>(magnitude);
}

double BigInteger::to_double() const {
  // The decimal text goes through strtod, which rounds to nearest.
  return std::strtod(to_string().c_str(), nullptr);
}

std::string BigInteger::to_string() const {
  if (limbs_.empty()) return "0";
  constexpr uint32_t kChunk = 1'000'000'000;  // nine digits at a time
  Limbs rest = limbs_;
  std::string reversed;
  while (!rest.empty()) {
    uint32_t chunk = divide_by_small(rest, kChunk);
    for (int i = 0; i < 9 && (chunk != 0 || !rest.empty()); ++i) {
      reversed += static_cast<char>('0' + chunk % 10);
      chunk /= 10;
    }
  }
  if (negative_) reversed += '-';
  return {reversed.rbegin(), reversed.rend()};
}

std::strong_ordering BigInteger::compare_magnitudes(const Limbs& a, const Limbs& b) {
  if (a.size() != b.size()) return a.size() <=> b.size();
  for (size_t i = a.size(); i-- > 0;) {
    if (a[i] != b[i]) return a[i] <=> b[i];
  }
  return std::strong_ordering::equal;
}

BigInteger::Limbs BigInteger::add_magnitudes(const Limbs& a, const Limbs& b) {
  Limbs sum;
  uint64_t carry = 0;
  for (size_t i = 0; i < std::max(a.size(), b.size()) || carry != 0; ++i) {
    if (i < a.size()) carry += a[i];
    if (i < b.size()) carry += b[i];
    sum.push_back(static_cast<uint32_t>(carry));
    carry >>= kLimbBits;
  }
  return sum;
}

BigInteger::Limbs BigInteger::subtract_magnitudes(const Limbs& larger, const Limbs& smaller) {
  Limbs difference = larger;
  uint64_t borrow = 0;
  for (size_t i = 0; i < larger.size(); ++i) {
    const uint64_t subtrahend = (i < smaller.size() ? smaller[i] : 0) + borrow;
    borrow = larger[i] < subtrahend ? 1 : 0;
    difference[i] = static_cast<uint32_t>(larger[i] + (borrow << kLimbBits) - subtrahend);
  }
  return difference;
}

BigInteger operator+(const BigInteger& a, const BigInteger& b) {
  if (a.negative_ == b.negative_) {
    return BigInteger(BigInteger::add_magnitudes(a.limbs_, b.limbs_), a.negative_);
  }
  if (BigInteger::compare_magnitudes(a.limbs_, b.limbs_) >= 0) {
    return BigInteger(BigInteger::subtract_magnitudes(a.limbs_, b.limbs_), a.negative_);
  }
  return BigInteger(BigInteger::subtract_magnitudes(b.limbs_, a.limbs_), b.negative_);
}

BigInteger operator-(const BigInteger& a, const BigInteger& b) { return a + b.negated(); }

BigInteger operator*(const BigInteger& a, const BigInteger& b) {
  std::vector<uint32_t> product(a.limbs_.size() + b.limbs_.size());
  for (size_t i = 0; i < a.limbs_.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < b.limbs_.size(); ++j) {
      carry += uint64_t{a.limbs_[i]} * b.limbs_[j] + product[i + j];
      product[i + j] = static_cast<uint32_t>(carry);
      carry >>= kLimbBits;
    }
    product[i + b.limbs_.size()] = static_cast<uint32_t>(carry);
  }
  return BigInteger(std::move(product), a.negative_ != b.negative_);
}

std::strong_ordering operator<=>(const BigInteger& a, const BigInteger& b) {
  if (a.negative_ != b.negative_) return b.negative_ <=> a.negative_;
  return a.negative_ ? BigInteger::compare_magnitudes(b.limbs_, a.limbs_)
                     : BigInteger::compare_magnitudes(a.limbs_, b.limbs_);
}

BigInteger::Division BigInteger::divide(const BigInteger& dividend, const BigInteger& divisor) {
  // Schoolbook division bit by bit: operands are bounded and rare, short code wins.
  Limbs quotient(dividend.limbs_.size());
  Limbs remainder;
  for (size_t bit = dividend.bit_length(); bit-- > 0;) {
    multiply_add(remainder, 2, dividend.limbs_[bit / kLimbBits] >> (bit % kLimbBits) & 1);
    trim(remainder);
    if (compare_magnitudes(remainder, divisor.limbs_) >= 0) {
      remainder = subtract_magnitudes(remainder, divisor.limbs_);
      trim(remainder);
      quotient[bit / kLimbBits] |= uint32_t{1} << (bit % kLimbBits);
    }
  }
  const bool negative = dividend.negative_ != divisor.negative_;
  Division result{BigInteger(std::move(quotient), negative),
                  BigInteger(std::move(remainder), dividend.negative_)};
  if (!result.remainder.is_zero() && negative) {
    result.quotient = result.quotient - BigInteger(1);
    result.remainder = result.remainder + divisor;
  }
  return result;
}

}  // namespace qround::jinja
