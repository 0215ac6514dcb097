// Reference tensors of tests/data and how they are compared.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/tensor_view.h"
#include "checkpoint/safetensors.h"

namespace qround {

inline std::filesystem::path source_path(const std::string& relative) {
  return std::filesystem::path(QROUND_SOURCE_DIR) / relative;
}

// The largest difference of two tensors relative to the largest magnitude of the expected one.
struct Difference {
  double relative = 0;
  size_t index = 0;
  float expected = 0, actual = 0;
};

inline Difference compare(std::span<const float> expected, std::span<const float> actual) {
  Difference worst;
  double largest = 0, distance = -1;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(double{expected[i]}));
    const double d = std::abs(double{expected[i]} - double{actual[i]});
    if (!(d <= distance)) {  // a NaN counts as the worst
      distance = d;
      worst = {0, i, expected[i], actual[i]};
    }
  }
  worst.relative = distance / largest;
  return worst;
}

// EXPECTs that `actual` is within `tolerance` of tensor `name`, relative to its largest magnitude.
inline void expect_near(const SafetensorsFile& goldens, const std::string& name,
                        std::span<const float> actual, double tolerance) {
  const std::vector<float> expected = to_f32(goldens.view(name));
  ASSERT_EQ(expected.size(), actual.size()) << name;
  const Difference worst = compare(expected, actual);
  EXPECT_LE(worst.relative, tolerance)
      << name << " differs most at element " << worst.index << ": expected " << worst.expected
      << ", actual " << worst.actual;
}

inline std::vector<int32_t> golden_ids(const SafetensorsFile& goldens, const std::string& name) {
  const TensorView view = goldens.view(name);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < view.count(); ++i) {
    ids.push_back(view.dtype == DType::i64 ? static_cast<int32_t>(view.as<int64_t>()[i])
                                           : view.as<int32_t>()[i]);
  }
  return ids;
}

}  // namespace qround
