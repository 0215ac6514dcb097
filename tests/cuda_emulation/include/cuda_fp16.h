// IEEE binary16 as CUDA names it; conversions round to nearest even.
#pragma once

#include "base/half.h"
#include "cuda_runtime.h"

struct alignas(2) __half_raw {
  unsigned short x;
};
struct alignas(2) __half {
  unsigned short x = 0xFFFF;
  __half() = default;
  __half(__half_raw raw) : x(raw.x) {}         // NOLINT
  operator __half_raw() const { return {x}; }  // NOLINT
};
struct alignas(4) __half2 {
  __half x, y;
};

inline __half __float2half_rn(float value) { return __half_raw{qround::f32_to_f16(value)}; }
inline __half __float2half(float value) { return __float2half_rn(value); }
inline float __half2float(__half value) { return qround::f16_to_f32(value.x); }
inline __half2 __floats2half2_rn(float x, float y) {
  return {__float2half_rn(x), __float2half_rn(y)};
}
inline float2 __half22float2(__half2 pair) { return {__half2float(pair.x), __half2float(pair.y)}; }
inline unsigned short __half_as_ushort(__half value) { return value.x; }
inline __half __ushort_as_half(unsigned short bits) { return __half_raw{bits}; }
