// A sequence's hidden states have the same bits however it is cut into calls, whatever shares the
// batch, and whether its tokens were tentative first: on f32, BF16 and int4 weights.
#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/engine/on_backends.h"
#include "tests/ops/on_backend.h"

namespace qround {
namespace {

struct Case {
  const char* model;
  std::string backend;
};

class BatchIndependence : public testing::TestWithParam<Case> {
 protected:
  std::vector<int32_t> random_ids(uint64_t seed, int64_t count) const {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < count; ++i)
      ids.push_back(static_cast<int32_t>(random_bits(seed, 1, static_cast<uint64_t>(i)) %
                                         static_cast<uint64_t>(on.model.config().vocab)));
    return ids;
  }
  size_t width() const { return static_cast<size_t>(on.width()); }
  std::vector<float> alone(const std::vector<int32_t>& ids) const {
    SequenceState state = on.model.empty_state();
    return on.forward(ids, state);
  }
  // Emulated kernels are a thousand times slower than real ones.
  bool is_slow() const { return ops::is_emulated(on.table); }

  ModelOnBackend on{Model::load(std::make_shared<Checkpoint>(Checkpoint::open(
                        std::filesystem::path(QROUND_SOURCE_DIR) / GetParam().model))),
                    GetParam().backend};
};

// Several sequences of different lengths go forward together, each by a random number of tokens,
// sometimes tentatively with a random number of them accepted.
TEST_P(BatchIndependence, SequencesInARandomBatchHaveTheBitsOfSequencesAlone) {
  const uint64_t n_sequences = is_slow() ? 2 : 5;
  struct Timeline {
    std::vector<int32_t> ids;
    std::vector<float> expected, seen;
    SequenceState state;
    std::vector<int32_t> step;
    bool tentative = false;
  };
  std::vector<Timeline> timelines;
  for (uint64_t i = 0; i < n_sequences; ++i) {
    const std::vector<int32_t> ids = random_ids(i, 30 + 25 * static_cast<int64_t>(i));
    timelines.push_back({ids, alone(ids), {}, on.model.empty_state(), {}, false});
    timelines.back().state.reserve(5, 200);
  }
  uint64_t draws = 0;
  const auto draw = [&](uint64_t below) { return random_bits(7, 2, draws++) % below; };
  while (true) {
    std::vector<int32_t> ids;
    std::vector<SequenceRows> batch;
    std::vector<Timeline*> members;
    for (Timeline& line : timelines) {
      const size_t left = line.ids.size() - static_cast<size_t>(line.state.tokens());
      if (left == 0 || draw(4) == 0) continue;
      line.tentative = draw(2) == 0;
      const size_t count = std::min<size_t>(left, 1 + draw(line.tentative ? 5 : 40));
      const auto first = line.ids.begin() + line.state.tokens();
      ids.insert(ids.end(), first, first + static_cast<std::ptrdiff_t>(count));
      batch.push_back({.state = &line.state,
                       .tokens = static_cast<int64_t>(count),
                       .first_position = line.state.tokens(),
                       .tentative = line.tentative});
      members.push_back(&line);
    }
    if (std::all_of(timelines.begin(), timelines.end(), [](const Timeline& line) {
          return static_cast<size_t>(line.state.tokens()) == line.ids.size();
        }))
      break;
    if (batch.empty()) continue;
    const std::vector<float> hidden = on.forward(ids, batch);
    const float* row = hidden.data();
    for (size_t i = 0; i < batch.size(); ++i) {
      Timeline& line = *members[i];
      auto kept = static_cast<size_t>(batch[i].tokens);
      if (line.tentative) {
        kept = draw(kept + 1);
        line.state.accept(static_cast<int64_t>(kept));
      }
      line.seen.insert(line.seen.end(), row, row + kept * width());
      row += static_cast<size_t>(batch[i].tokens) * width();
    }
  }
  for (const Timeline& line : timelines) EXPECT_EQ(line.seen, line.expected);
}

// Two sequences go on from a state that a third one left at some length, in the middle of a page.
TEST_P(BatchIndependence, SequencesContinuedFromAKeptStateHaveTheBitsOfSequencesAlone) {
  const std::vector<int32_t> common = random_ids(1, 150);
  SequenceState first = on.model.empty_state();
  first.reserve(4, 300);
  on.forward(std::span(common).first(146), first);
  const SequenceRows last{.state = &first, .tokens = 4, .first_position = 146, .tentative = true};
  on.forward(std::span(common).subspan(146), std::span(&last, 1));
  first.accept(4);
  on.model.settle(first, on.executor);
  const KvPages pages = first.pages().shared(150);
  const RecurrentCopy copy = first.recurrent_copy();
  for (const uint64_t i :
       is_slow() ? std::vector<uint64_t>{1, 2} : std::vector<uint64_t>{0, 1, 2}) {
    const std::vector<int32_t> rest = random_ids(10 + i, 20);
    std::vector<int32_t> whole = common;
    whole.insert(whole.end(), rest.begin(), rest.end());
    const std::vector<float> expected = alone(whole);
    SequenceState second(on.model.config(), on.model.config().mixers, first.pages().share_pool());
    if (i < 2) second.restore(pages, copy, 150);
    SequenceState& state = i < 2 ? second : first;  // the first one may go on, too
    const std::vector<float> seen = on.forward(rest, state);
    EXPECT_TRUE(std::equal(seen.begin(), seen.end(),
                           expected.end() - static_cast<std::ptrdiff_t>(seen.size())));
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases = {{"tests/data/golden/micro/model", "ref"}, {"models/pocket", "cpu"}};
  for (const std::string& backend : engine_backends())
    for (const char* model : {"tests/data/golden/micro/model", "tests/data/golden/autoround-rtn",
                              "tests/data/golden/autoround-tuned"})
      if (backend != "cuda-emulated" || std::string(model) != "tests/data/golden/autoround-rtn")
        cases.push_back({model, backend});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Models, BatchIndependence, testing::ValuesIn(all_cases()),
                         [](const auto& which) {
                           std::string backend = which.param.backend;
                           std::ranges::replace(backend, '-', '_');
                           return "Case" + std::to_string(which.index) + backend;
                         });

}  // namespace
}  // namespace qround
