// The forward pass, chunking, greedy text and both MTP drafts against transformers' fp32 values
// (tests/data/golden/README.md), on every backend.
#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "base/json.h"
#include "model/model.h"
#include "ops/backend.h"
#include "tests/engine/engine_output.h"
#include "tests/golden/safetensors_golden.h"

namespace qround {
namespace {

constexpr double kTolerance = 2e-4;  // against the reference, relative to the largest magnitude

struct Case {
  const char* model;
  const char* goldens;
  const char* backend;
};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.model).find("pocket") != std::string::npos
             ? std::string("Pocket_") + info.param.backend
             : std::string("Micro_") + info.param.backend;
}

class ForwardGolden : public testing::TestWithParam<Case> {
 protected:
  ForwardGolden()
      : model(Model::load(
            std::make_shared<Checkpoint>(Checkpoint::open(source_path(GetParam().model))))),
        goldens(source_path(std::string(GetParam().goldens) + "/forward.safetensors")),
        executor{ops::select_backend(GetParam().backend), {Threads{2}, workspace}} {}

  int n_prompts() const {
    int n = 0;
    while (goldens.find(std::to_string(n) + ".ids") != nullptr) ++n;
    return n;
  }
  std::vector<int32_t> ids(int prompt) const {
    return golden_ids(goldens, std::to_string(prompt) + ".ids");
  }

  // The final hidden states of a prompt cut into pieces of `chunk` tokens.
  std::vector<float> hidden(const std::vector<int32_t>& tokens, size_t chunk) const {
    SequenceState state(model.config());
    std::vector<float> all;
    for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
      const size_t count = std::min(chunk, tokens.size() - begin);
      std::vector<float> part(count * static_cast<size_t>(model.config().hidden));
      model.forward(std::span(tokens).subspan(begin, count), state, part.data(), executor);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
  std::vector<float> logits(const std::vector<float>& rows) const {
    const auto n = static_cast<int64_t>(rows.size()) / model.config().hidden;
    std::vector<float> out(static_cast<size_t>(n * model.config().vocab));
    model.logits(rows.data(), n, out.data(), executor);
    return out;
  }
  // A pass of the MTP head over `rows` of hidden states, reading tokens from `first_token` on.
  std::vector<float> mtp(const std::vector<int32_t>& tokens, size_t first_token,
                         const std::vector<float>& rows) const {
    const auto next = std::span(tokens).subspan(first_token);
    std::vector<float> out(next.size() * static_cast<size_t>(model.config().hidden));
    SequenceState state = model.empty_mtp_state();
    const SequenceRows all{.state = &state, .tokens = static_cast<int64_t>(next.size())};
    model.mtp_forward(next, rows.data(), std::span(&all, 1), out.data(), executor);
    return out;
  }

  Model model;
  SafetensorsFile goldens;
  mutable ops::Workspace workspace;
  Executor executor;
};

TEST_P(ForwardGolden, HiddenStatesOfEveryLayerAndLogitsEqualTheReference) {
  ASSERT_GE(n_prompts(), 2);
  for (int prompt = 0; prompt < n_prompts(); ++prompt) {
    const std::string name = std::to_string(prompt);
    const std::vector<int32_t> tokens = ids(prompt);
    std::vector<float> rows(tokens.size() * static_cast<size_t>(model.config().hidden));
    SequenceState state(model.config());
    const auto layers = static_cast<int64_t>(model.config().mixers.size());
    // The reference records the last layer only after the final norm, as `hidden.<layers>`.
    const Model::Observer observer = [&](int64_t level, std::span<const float> values) {
      if (level == layers) return;
      expect_near(goldens, name + ".hidden." + std::to_string(std::min(level, layers)), values,
                  kTolerance);
    };
    model.forward(tokens, state, rows.data(), executor, observer);
    expect_near(goldens, name + ".final_norm", rows, kTolerance);
    expect_near(goldens, name + ".logits", logits(rows), kTolerance);
  }
}

TEST_P(ForwardGolden, BothMtpDraftsEqualTheReference) {
  ASSERT_TRUE(model.has_mtp());
  for (int prompt = 0; prompt < n_prompts(); ++prompt) {
    const std::string name = std::to_string(prompt);
    const std::vector<int32_t> tokens = ids(prompt);
    const std::vector<float> first = mtp(tokens, 1, hidden(tokens, tokens.size()));
    expect_near(goldens, name + ".mtp1.hidden", first, kTolerance);
    expect_near(goldens, name + ".mtp1.logits", logits(first), kTolerance);
    expect_near(goldens, name + ".mtp2.logits", logits(mtp(tokens, 2, first)), kTolerance);
  }
}

TEST_P(ForwardGolden, PrefillInPiecesGivesTheBitsOfPrefillInOne) {
  for (int prompt = 0; prompt < n_prompts(); ++prompt) {
    const std::vector<int32_t> tokens = ids(prompt);
    const std::vector<float> whole = logits(hidden(tokens, tokens.size()));
    for (const size_t chunk : {1, 2, 3, 7, 64}) {
      EXPECT_EQ(whole, logits(hidden(tokens, chunk)))
          << "prompt " << prompt << " in chunks of " << chunk;
    }
  }
}

TEST_P(ForwardGolden, GreedyContinuationsAreIdentical) {
  const Json cases =
      Json::parse_file(source_path(std::string(GetParam().goldens) + "/greedy.json"));
  ASSERT_GE(cases.as_array().size(), 2u);
  for (const Json& golden : cases.as_array()) {
    std::vector<int32_t> prompt, expected;
    for (const Json& id : golden.at("ids").as_array())
      prompt.push_back(static_cast<int32_t>(id.as_int()));
    for (const Json& id : golden.at("continuation").as_array())
      expected.push_back(static_cast<int32_t>(id.as_int()));
    ASSERT_EQ(expected.size(), 48u);
    for (const int drafts : {0, 1, 3}) {
      Engine engine(model, executor.ops,
                    {.max_sequences = 1,
                     .drafts = {.automatic = false, .depth = drafts},
                     .threads = Threads{2}});
      EXPECT_EQ(output_of(engine, {.tokens = prompt, .max_tokens = 48}).tokens, expected)
          << golden.at("prompt").dump() << ", drafts " << drafts;
    }
  }
}

constexpr const char* kMicro = "tests/data/golden/micro/model";
constexpr const char* kMicroGoldens = "tests/data/golden/micro/forward";
constexpr const char* kPocket = "models/pocket";
constexpr const char* kPocketGoldens = "tests/data/golden/pocket";

INSTANTIATE_TEST_SUITE_P(Backends, ForwardGolden,
                         testing::Values(Case{kMicro, kMicroGoldens, "ref"},
                                         Case{kMicro, kMicroGoldens, "cpu"},
                                         Case{kPocket, kPocketGoldens, "ref"},
                                         Case{kPocket, kPocketGoldens, "cpu"}),
                         case_name);

// Directories written by auto-round 0.16.1: experts split, MTP in a shard of its own or in a side
// file of the index, unquantized tensors in F32, total_size 0.
class ForeignCheckpoint : public testing::TestWithParam<const char*> {};

TEST_P(ForeignCheckpoint, LoadsAndGivesTheRecordedLogits) {
  const std::filesystem::path directory = source_path(GetParam());
  const Model model = Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory)));
  EXPECT_TRUE(model.has_mtp());
  const SafetensorsFile prompts(source_path("tests/data/golden/pocket/forward.safetensors"));
  const SafetensorsFile goldens(directory / "logits.safetensors");
  ops::Workspace workspace;
  const Executor executor{ops::select_backend("cpu"), {Threads{2}, workspace}};
  int compared = 0;
  for (; goldens.find(std::to_string(compared) + ".logits.f32_weights") != nullptr; ++compared) {
    const std::vector<int32_t> ids = golden_ids(prompts, std::to_string(compared) + ".ids");
    const auto rows = static_cast<int64_t>(ids.size());
    std::vector<float> hidden(ids.size() * static_cast<size_t>(model.config().hidden));
    std::vector<float> logits(ids.size() * static_cast<size_t>(model.config().vocab));
    SequenceState state(model.config());
    model.forward(ids, state, hidden.data(), executor);
    model.logits(hidden.data(), rows, logits.data(), executor);
    expect_near(goldens, std::to_string(compared) + ".logits.f32_weights", logits, kTolerance);
  }
  EXPECT_EQ(compared, 5);
}

INSTANTIATE_TEST_SUITE_P(AutoRound, ForeignCheckpoint,
                         testing::Values("tests/data/golden/autoround-rtn",
                                         "tests/data/golden/autoround-tuned"),
                         [](const auto& which) { return which.index == 0 ? "Rtn" : "Tuned"; });

}  // namespace
}  // namespace qround
