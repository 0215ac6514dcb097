#include "tokenizer/jinja_arithmetic.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "tokenizer/jinja_markup.h"
#include "tokenizer/jinja_printf.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

bool is_whole(const Value& value) { return value.is_number() && !value.is_real(); }

void refuse_undefined(const Value& a, const Value& b) {
  if (a.is_undefined()) throw Error(a.as_undefined().message());
  if (b.is_undefined()) throw Error(b.as_undefined().message());
}

[[noreturn]] void fail_operands(std::string_view symbol, const Value& a, const Value& b) {
  throw Error(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", symbol,
                          a.type_name(), b.type_name()));
}

void require_numbers(std::string_view symbol, const Value& a, const Value& b) {
  refuse_undefined(a, b);
  if (!a.is_number() || !b.is_number()) fail_operands(symbol, a, b);
}

// Long operands cost more than one step; both sides of schoolbook arithmetic count.
void charge(Budget& budget, const Value& a, const Value& b) {
  const size_t bits_a = a.is_big_integer() ? a.as_big_integer().bit_length() : 64;
  const size_t bits_b = b.is_big_integer() ? b.as_big_integer().bit_length() : 64;
  budget.produce((bits_a + bits_b) / 8);
  budget.step(bits_a * bits_b / 256);
}

Value concatenate(Budget& budget, const Value& a, const Value& b) {
  budget.produce(a.items().size() + b.items().size(), sizeof(Value));
  Value::Items items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value add_text(Budget& budget, const Value& a, const Value& b) {
  const bool markup = a.as_string().markup || b.as_string().markup;
  TextBuilder out(budget);
  if (markup) {
    out.append(escaped(budget, a)).append(escaped(budget, b));
  } else {
    out.append(a.bytes()).append(b.bytes());
  }
  return Value::string(out.take(), markup);
}

Value repeat(Budget& budget, const Value& sequence, int64_t times) {
  const size_t count = times < 0 ? 0 : static_cast<size_t>(times);
  if (sequence.is_string()) {
    TextBuilder out(budget);
    out.append(sequence.bytes().empty() ? 0 : count, sequence.bytes());
    return Value::string(out.take(), sequence.as_string().markup);
  }
  const Value::Items& items = sequence.items();
  budget.produce(count, items.size() * sizeof(Value));
  Value::Items repeated;
  if (!items.empty()) {
    for (size_t i = 0; i < count; ++i) repeated.insert(repeated.end(), items.begin(), items.end());
  }
  return sequence.is_list() ? Value::list(std::move(repeated)) : Value::tuple(std::move(repeated));
}

bool is_repeatable(const Value& value) { return value.is_string() || value.is_sequence(); }

void require_not_zero(const Value& divisor, const char* message) {
  if (!divisor.truthy()) throw Error(message);
}

// Python's float floor division: the remainder takes the sign of the divisor.
struct RealDivision {
  double quotient, remainder;
};

RealDivision divide_reals(double a, double b) {
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0) {
    if ((b < 0) != (remainder < 0)) {
      remainder += b;
      quotient -= 1;
    }
  } else {
    remainder = std::copysign(0.0, b);
  }
  if (quotient != 0) {
    const double floored = std::floor(quotient);
    quotient = quotient - floored > 0.5 ? floored + 1 : floored;
  } else {
    quotient = std::copysign(0.0, a / b);
  }
  return {quotient, remainder};
}

Value integer_power(Budget& budget, const Value& base, int64_t exponent) {
  BigInteger result(1);
  BigInteger square = to_big_integer(base);
  for (; exponent > 0; exponent >>= 1) {
    budget.step(square.bit_length() * square.bit_length() / 256 + 1);
    if (exponent & 1) result = result * square;
    if (exponent > 1) square = square * square;
  }
  return Value::integer(result);
}

Value real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) throw Error("0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(base) && exponent != std::floor(exponent)) {
    throw Error("complex numbers are not supported");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    throw Error("(34, 'Numerical result out of range')");
  }
  return Value::real(result);
}

}  // namespace

BigInteger to_big_integer(const Value& value) {
  return value.is_big_integer() ? value.as_big_integer() : BigInteger(*value.to_index());
}

Value add(Budget& budget, const Value& a, const Value& b) {
  refuse_undefined(a, b);
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return Value::real(*a.to_double() + *b.to_double());
    int64_t sum = 0;
    if (!a.is_big_integer() && !b.is_big_integer() &&
        !__builtin_add_overflow(*a.to_index(), *b.to_index(), &sum)) {
      return Value::integer(sum);
    }
    charge(budget, a, b);
    return Value::integer(to_big_integer(a) + to_big_integer(b));
  }
  if (a.is_string() && b.is_string()) return add_text(budget, a, b);
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    return concatenate(budget, a, b);
  }
  if (a.is_string() || a.is_sequence()) {
    throw Error(
        fmt::format("can only concatenate {0} (not \"{1}\") to {0}", a.type_name(), b.type_name()));
  }
  fail_operands("+", a, b);
}

Value subtract(Budget& budget, const Value& a, const Value& b) {
  require_numbers("-", a, b);
  if (a.is_real() || b.is_real()) return Value::real(*a.to_double() - *b.to_double());
  int64_t difference = 0;
  if (!a.is_big_integer() && !b.is_big_integer() &&
      !__builtin_sub_overflow(*a.to_index(), *b.to_index(), &difference)) {
    return Value::integer(difference);
  }
  charge(budget, a, b);
  return Value::integer(to_big_integer(a) - to_big_integer(b));
}

Value multiply(Budget& budget, const Value& a, const Value& b) {
  refuse_undefined(a, b);
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return Value::real(*a.to_double() * *b.to_double());
    int64_t product = 0;
    if (!a.is_big_integer() && !b.is_big_integer() &&
        !__builtin_mul_overflow(*a.to_index(), *b.to_index(), &product)) {
      return Value::integer(product);
    }
    charge(budget, a, b);
    return Value::integer(to_big_integer(a) * to_big_integer(b));
  }
  if (is_repeatable(a) && b.to_index()) return repeat(budget, a, *b.to_index());
  if (is_repeatable(b) && a.to_index()) return repeat(budget, b, *a.to_index());
  if (is_repeatable(a) || is_repeatable(b)) {
    throw Error(fmt::format("can't multiply sequence by non-int of type '{}'",
                            is_repeatable(a) ? b.type_name() : a.type_name()));
  }
  fail_operands("*", a, b);
}

Value divide(const Value& a, const Value& b) {
  require_numbers("/", a, b);
  require_not_zero(b, is_whole(a) && is_whole(b) ? "division by zero" : "float division by zero");
  return Value::real(*a.to_double() / *b.to_double());
}

Value floor_divide(Budget& budget, const Value& a, const Value& b) {
  require_numbers("//", a, b);
  if (!is_whole(a) || !is_whole(b)) {
    require_not_zero(b, "float floor division by zero");
    return Value::real(divide_reals(*a.to_double(), *b.to_double()).quotient);
  }
  require_not_zero(b, "integer division or modulo by zero");
  if (const auto left = a.to_index(), right = b.to_index(); left && right && *right > 0) {
    return Value::integer(*left / *right - (*left % *right < 0 ? 1 : 0));
  }
  charge(budget, a, b);
  return Value::integer(BigInteger::divide(to_big_integer(a), to_big_integer(b)).quotient);
}

Value modulo(Budget& budget, const Value& a, const Value& b) {
  if (a.is_string()) return format_printf(budget, a, b);
  require_numbers("%", a, b);
  if (!is_whole(a) || !is_whole(b)) {
    require_not_zero(b, "float modulo");
    return Value::real(divide_reals(*a.to_double(), *b.to_double()).remainder);
  }
  require_not_zero(b, "integer modulo by zero");
  if (const auto left = a.to_index(), right = b.to_index(); left && right && *right > 0) {
    const int64_t remainder = *left % *right;
    return Value::integer(remainder < 0 ? remainder + *right : remainder);
  }
  charge(budget, a, b);
  return Value::integer(BigInteger::divide(to_big_integer(a), to_big_integer(b)).remainder);
}

Value power(Budget& budget, const Value& a, const Value& b) {
  require_numbers("** or pow()", a, b);
  if (is_whole(a) && b.to_index() && *b.to_index() >= 0) {
    return integer_power(budget, a, *b.to_index());
  }
  return real_power(*a.to_double(), *b.to_double());
}

Value negate(Budget& budget, const Value& a) {
  if (a.is_undefined()) throw Error(a.as_undefined().message());
  if (!a.is_number()) {
    throw Error(fmt::format("bad operand type for unary -: '{}'", a.type_name()));
  }
  return a.is_real() ? Value::real(-a.as_real()) : subtract(budget, Value::integer(0), a);
}

Value plus(const Value& a) {
  if (a.is_undefined()) throw Error(a.as_undefined().message());
  if (!a.is_number()) {
    throw Error(fmt::format("bad operand type for unary +: '{}'", a.type_name()));
  }
  return a.is_boolean() ? Value::integer(*a.to_index()) : a;
}

Value absolute(Budget& budget, const Value& a) {
  if (!a.is_number()) {
    throw Error(fmt::format("bad operand type for abs(): '{}'", a.type_name()));
  }
  if (a.is_real()) return Value::real(std::abs(a.as_real()));
  const bool negative = a.is_big_integer() ? a.as_big_integer().is_negative() : *a.to_index() < 0;
  return negative ? negate(budget, a) : plus(a);
}

}  // namespace qround::jinja
