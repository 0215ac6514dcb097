// Filters that read or make numbers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "tokenizer/jinja_arithmetic.h"
#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_number_text.h"
#include "tokenizer/jinja_repr.h"

namespace qround::jinja {
namespace {

void refuse_undefined(const Value& value) {
  if (value.is_undefined()) throw Error(value.as_undefined().message());
}

Value absolute_value(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_arguments("abs", arguments);
  return absolute(runtime.budget, input);
}

// int() of a number; nullopt for nan and the infinities.
std::optional<Value> truncated(const Value& number) {
  if (!number.is_real()) return plus(number);
  if (!std::isfinite(number.as_real())) return std::nullopt;
  return Value::integer(BigInteger::from_double(number.as_real()));
}

Value to_integer(Runtime&, const Value& input, const Arguments& arguments) {
  const Parameters parameters("int", arguments, {"default", "base"});
  const Value fallback = parameters.find(0) == nullptr ? Value::integer(0) : parameters.at(0);
  refuse_undefined(input);
  if (input.is_string()) {
    const int64_t base = parameters.integer(1, 10);
    if (base >= 0 && base <= 36 && base != 1) {
      if (auto whole = parse_integer(input.bytes(), static_cast<int>(base))) return *whole;
    }
    const auto number = parse_real(input.bytes());
    return number ? truncated(Value::real(*number)).value_or(fallback) : fallback;
  }
  return input.is_number() ? truncated(input).value_or(fallback) : fallback;
}

Value to_real(Runtime&, const Value& input, const Arguments& arguments) {
  const Parameters parameters("float", arguments, {"default"});
  const Value fallback = parameters.find(0) == nullptr ? Value::real(0) : parameters.at(0);
  refuse_undefined(input);
  if (const auto number = input.to_double()) return Value::real(*number);
  if (!input.is_string()) return fallback;
  const auto number = parse_real(input.bytes());
  return number ? Value::real(*number) : fallback;
}

// Half to even on the exact binary value, as printf rounds.
double round_real(double value, int64_t precision) {
  constexpr int64_t kMaxDigits = 323;
  if (!std::isfinite(value) || precision > kMaxDigits) return value;
  if (precision < -308) return std::copysign(0.0, value);
  if (precision >= 0) {
    return std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr);
  }
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / unit) * unit;
}

Value round_integer(Budget& budget, const Value& value, int64_t precision) {
  if (precision >= 0) return plus(value);
  if (precision < -400) return Value::integer(0);
  const Value unit = power(budget, Value::integer(10), Value::integer(-precision));
  const Value remainder = modulo(budget, value, unit);
  const Value lower = subtract(budget, value, remainder);
  const auto twice = to_big_integer(remainder) * BigInteger(2) <=> to_big_integer(unit);
  const Value lower_count = floor_divide(budget, lower, unit);
  const bool odd = modulo(budget, lower_count, Value::integer(2)).truthy();
  return twice > 0 || (twice == 0 && odd) ? add(budget, lower, unit) : lower;
}

Value rounded(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("round", arguments, {"precision", "method"});
  const int64_t precision = parameters.integer(0, 0);
  const std::string method = parameters.find(1) == nullptr ? "common" : parameters.string(1).bytes;
  if (method != "common" && method != "ceil" && method != "floor") {
    throw Error("method must be common, ceil or floor");
  }
  if (!input.is_number()) {
    throw Error(fmt::format("type {} doesn't define __round__ method", input.type_name()));
  }
  if (method == "common") {
    return input.is_real() ? Value::real(round_real(input.as_real(), precision))
                           : round_integer(runtime.budget, input, precision);
  }
  const Value unit = power(runtime.budget, Value::integer(10), Value::integer(precision));
  const double scaled = *multiply(runtime.budget, input, unit).to_double();
  if (!std::isfinite(scaled)) throw Error("cannot convert float infinity to integer");
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return divide(Value::integer(BigInteger::from_double(whole)), unit);
}

// Python's float(), which unlike the filter of that name has no default.
double require_real(Budget& budget, const Value& input) {
  refuse_undefined(input);
  if (const auto number = input.to_double()) return *number;
  if (!input.is_string()) {
    throw Error(fmt::format("float() argument must be a string or a real number, not '{}'",
                            input.type_name()));
  }
  if (const auto number = parse_real(input.bytes())) return *number;
  throw Error("could not convert string to float: " + to_repr(budget, input));
}

Value file_size(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Parameters parameters("filesizeformat", arguments, {"binary"});
  const bool binary = parameters.flag(0);
  const double base = binary ? 1024 : 1000;
  const double bytes = require_real(runtime.budget, input);
  if (bytes == 1) return Value::string("1 Byte");
  if (!(bytes >= base)) return Value::string(fmt::format("{:.0f} Bytes", std::trunc(bytes)));
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  size_t prefix = 0;
  while (prefix + 1 < kPrefixes.size() && bytes >= unit * base) {
    unit *= base;
    ++prefix;
  }
  const char letter = binary && prefix == 0 ? 'K' : kPrefixes[prefix];
  return Value::string(fmt::format("{:.1f} {}{}", bytes / unit, letter, binary ? "iB" : "B"));
}

constexpr auto kFilters = std::to_array<Filter>({
    {"abs", absolute_value},
    {"filesizeformat", file_size},
    {"float", to_real},
    {"int", to_integer},
    {"round", rounded},
});

}  // namespace

std::span<const Filter> number_filters() { return kFilters; }

}  // namespace qround::jinja
