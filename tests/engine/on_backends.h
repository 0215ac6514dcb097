// Tests of what must hold on every backend that runs here: in host memory and, where a device or
// its emulation (tests/cuda_emulation) is linked, in memory of its own.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "model/model.h"
#include "ops/backend.h"

namespace qround {

// "cpu", and the device's.
inline std::vector<std::string> engine_backends() {
  std::vector<std::string> names = {"cpu"};
  for (const ops::Backend& backend : ops::backends())
    if (backend.unusable_because.empty() && !backend.table->memory->is_host)
      names.emplace_back(backend.name);
  return names;
}

inline std::string backend_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

// A suite's tests once for each; TEST_P of a suite derived from TestWithParam<std::string>.
#define QROUND_ON_ENGINE_BACKENDS(Suite)                                            \
  INSTANTIATE_TEST_SUITE_P(, Suite, testing::ValuesIn(::qround::engine_backends()), \
                           ::qround::backend_name)

// A model with what it runs with. Hidden states go in and out as vectors.
struct ModelOnBackend {
  const ops::OpTable& table;
  Model model;
  mutable ops::Workspace workspace;
  Executor executor;

  ModelOnBackend(const Model& mapped, const std::string& backend, int threads = 2)
      : table(ops::select_backend(backend)),
        model(mapped.in(*table.memory)),
        workspace(*table.memory),
        executor{table, {Threads{threads}, workspace}} {}
  ModelOnBackend(const ModelOnBackend&) = delete;
  ModelOnBackend& operator=(const ModelOnBackend&) = delete;

  int64_t width() const { return model.config().hidden; }
  ops::Buffer<float> rows(size_t count) const {
    return {model.memory(), static_cast<int64_t>(count) * width()};
  }

  std::vector<float> forward(std::span<const int32_t> ids, std::span<const SequenceRows> batch,
                             const Model::Observer& observer = nullptr) const {
    auto hidden = rows(ids.size());
    model.forward(ids, batch, hidden.data(), executor, observer);
    return hidden.to_vector();
  }
  std::vector<float> forward(std::span<const int32_t> ids, SequenceState& state,
                             const Model::Observer& observer = nullptr) const {
    auto hidden = rows(ids.size());
    model.forward(ids, state, hidden.data(), executor, observer);
    return hidden.to_vector();
  }
  std::vector<float> mtp_forward(std::span<const int32_t> next_ids,
                                 std::span<const float> hidden) const {
    const ops::Buffer<float> in(model.memory(), hidden);
    auto out = rows(next_ids.size());
    SequenceState state = model.empty_mtp_state();
    const SequenceRows all{.state = &state, .tokens = static_cast<int64_t>(next_ids.size())};
    model.mtp_forward(next_ids, in.data(), std::span(&all, 1), out.data(), executor);
    return out.to_vector();
  }
  std::vector<float> logits(std::span<const float> hidden) const {
    const ops::Buffer<float> in(model.memory(), hidden);
    const int64_t count = in.size() / width();
    ops::Buffer<float> out(model.memory(), count * model.config().vocab);
    model.logits(in.data(), count, out.data(), executor);
    return out.to_vector();
  }
};

}  // namespace qround
