// Integers beyond 64 bits, as Python has them; bounded, so that no template can grow them forever.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qround::jinja {

class BigInteger {
 public:
  // Results beyond this many bits throw Error.
  static constexpr size_t kMaxBits = 4096;

  BigInteger() = default;
  BigInteger(int64_t value);

  // Digits of base 2 to 36, nothing else; nullopt when one is not such a digit.
  static std::optional<BigInteger> parse(std::string_view digits, int base);
  // The integer part of a finite number.
  static BigInteger from_double(double value);

  std::optional<int64_t> to_int64() const;  // nullopt when it does not fit
  double to_double() const;                 // nearest; infinite beyond the range of double
  std::string to_string() const;

  bool is_zero() const { return limbs_.empty(); }
  bool is_negative() const { return negative_; }
  size_t bit_length() const;
  BigInteger negated() const;

  friend BigInteger operator+(const BigInteger& a, const BigInteger& b);
  friend BigInteger operator-(const BigInteger& a, const BigInteger& b);
  friend BigInteger operator*(const BigInteger& a, const BigInteger& b);
  friend std::strong_ordering operator<=>(const BigInteger& a, const BigInteger& b);
  friend bool operator==(const BigInteger& a, const BigInteger& b) = default;

  struct Division;
  // Python's // and %: the quotient is rounded down. Requires a divisor other than zero.
  static Division divide(const BigInteger& dividend, const BigInteger& divisor);

 private:
  using Limbs = std::vector<uint32_t>;  // least significant first, no leading zeros

  BigInteger(Limbs limbs, bool negative);
  static std::strong_ordering compare_magnitudes(const Limbs& a, const Limbs& b);
  static Limbs add_magnitudes(const Limbs& a, const Limbs& b);
  static Limbs subtract_magnitudes(const Limbs& larger, const Limbs& smaller);
  static void multiply_add(Limbs& limbs, uint32_t factor, uint32_t addend);
  static uint32_t divide_by_small(Limbs& limbs, uint32_t divisor);  // returns the remainder

  Limbs limbs_;
  bool negative_ = false;  // never for zero
};

struct BigInteger::Division {
  BigInteger quotient, remainder;
};

}  // namespace qround::jinja
