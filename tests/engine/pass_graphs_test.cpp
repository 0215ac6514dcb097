// Decode passes of a device are recorded at their second coming and repeated from then on, with the
// bits of passes that are enqueued.
#include "model/pass_graphs.h"

#include <gtest/gtest.h>

#include "tests/engine/on_backends.h"
#include "tests/engine/random_model.h"

namespace qround {
namespace {

int recordings = 0, runs = 0;
const ops::Graphs* counted = nullptr;

constexpr ops::Graphs kCounting = {
    .record =
        [](void (*enqueue)(void*, ops::Stream*), void* what) {
          ++recordings;
          return counted->record(enqueue, what);
        },
    .run =
        [](ops::Graph* graph) {
          ++runs;
          counted->run(graph);
        },
    .release = [](ops::Graph* graph) noexcept { counted->release(graph); }};

TEST(PassGraphs, DecodeIsRecordedOnceAndRepeatedWithTheSameBits) {
  const RandomModelDirectory directory;
  const Model mapped = make_random_model(directory.path(), {}, 3);
  for (const std::string& backend : engine_backends()) {
    const ModelOnBackend on(mapped, backend);
    counted = on.table.graphs;
    recordings = runs = 0;
    PassGraphs graphs(counted == nullptr ? nullptr : &kCounting);
    Executor executor = on.executor;
    executor.graphs = &graphs;
    SequenceState repeated = on.model.empty_state(), enqueued = on.model.empty_state();
    auto hidden = on.rows(20);
    const auto pass = [&](std::span<const int32_t> ids) {
      on.model.forward(ids, repeated, hidden.data(), executor);
      std::vector<float> rows = hidden.to_vector();
      rows.resize(ids.size() * static_cast<size_t>(on.width()));
      EXPECT_EQ(rows, on.forward(ids, enqueued)) << backend;
    };
    std::vector<int32_t> prompt(20);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i);
    pass(prompt);
    constexpr int kSteps = 5;  // of one shape: contexts of at most 32 tokens
    for (int32_t step = 0; step < kSteps; ++step) pass(std::vector<int32_t>{step});
    EXPECT_EQ(recordings, counted == nullptr ? 0 : 1);
    EXPECT_EQ(runs, counted == nullptr ? 0 : kSteps - 1);
  }
}

}  // namespace
}  // namespace qround
