// Runs an operation on any backend with operands that tests hold as vectors.
//
// A test of an operation is written once, for a table, and instantiated for every backend that runs
// here but the definition: cpu, and cuda or its emulation (tests/cuda_emulation).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "ops/backend.h"

namespace qround::ops {

inline const OpTable& ref_table() { return select_backend("ref"); }

inline std::vector<const OpTable*> fast_backends() {
  std::vector<const OpTable*> tables;
  for (const Backend& backend : backends())
    if (backend.unusable_because.empty() && backend.name != "ref") tables.push_back(backend.table);
  return tables;
}

// The relative error of a factor of a matrix product that the backend rounds before it multiplies:
// half a unit in the last place of bf16 where tensor cores multiply.
inline float factor_rounding(const OpTable& table) {
  return table.name.starts_with("cuda") ? 0x1p-9f : 0.0f;
}

// Emulated kernels are a thousand times slower than real ones: their tests run fewer shapes.
inline bool is_emulated(const OpTable& table) { return table.name == "cuda-emulated"; }

// A suite derived from this one, with TEST_P and QROUND_FOR_EACH_BACKEND(Suite).
class ForEachBackend : public testing::TestWithParam<const OpTable*> {
 protected:
  const OpTable& table() const { return *GetParam(); }
};

inline std::string backend_test_name(const testing::TestParamInfo<const OpTable*>& info) {
  std::string name(info.param->name);
  std::ranges::replace(name, '-', '_');
  return name;
}

#define QROUND_FOR_EACH_BACKEND(Suite)                                                 \
  INSTANTIATE_TEST_SUITE_P(, Suite, testing::ValuesIn(::qround::ops::fast_backends()), \
                           ::qround::ops::backend_test_name)

// A backend with a workspace. The usual test:
//   OnBackend on(table, threads);
//   const auto x = on.copy_of(values);
//   auto y = on.nans(count);
//   table.l2_norm(x.data(), rows, width, scale, y.data(), on.context);
//   return y.to_vector();
struct OnBackend {
  Workspace workspace;
  OpContext context;
  const Memory& memory;

  explicit OnBackend(const OpTable& table, int threads = 2)
      : workspace(*table.memory),
        context{.threads = {threads}, .workspace = workspace},
        memory(*table.memory) {}
  OnBackend(const OnBackend&) = delete;

  template <typename T>
  Buffer<T> copy_of(const std::vector<T>& values) const {
    return Buffer<T>(memory, std::span<const T>(values));
  }
  // `count` elements that an operation must write.
  Buffer<float> nans(size_t count) const { return copy_of(std::vector<float>(count, NAN)); }
  Buffer<float> zeros(size_t count) const { return copy_of(std::vector<float>(count)); }
};

}  // namespace qround::ops
