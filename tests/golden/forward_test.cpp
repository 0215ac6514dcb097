// The forward pass, chunking, greedy text and both MTP drafts against transformers' fp32 values
// (tests/data/golden/README.md), on every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "base/json.h"
#include "model/model.h"
#include "ops/backend.h"
#include "tests/engine/engine_output.h"
#include "tests/engine/on_backends.h"
#include "tests/golden/safetensors_golden.h"
#include "tests/ops/on_backend.h"

namespace qround {
namespace {

struct Case {
  const char* model;
  const char* goldens;
  std::string backend;
};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string backend = info.param.backend;
  std::ranges::replace(backend, '-', '_');
  const bool is_pocket = std::string(info.param.model).find("pocket") != std::string::npos;
  return (is_pocket ? "Pocket_" : "Micro_") + backend;
}

class ForwardGolden : public testing::TestWithParam<Case> {
 protected:
  ForwardGolden()
      : on(Model::load(
               std::make_shared<Checkpoint>(Checkpoint::open(source_path(GetParam().model)))),
           GetParam().backend),
        goldens(source_path(std::string(GetParam().goldens) + "/forward.safetensors")) {}

  // Emulated kernels are a thousand times slower than real ones.
  int n_prompts() const {
    int n = 0;
    while (goldens.find(std::to_string(n) + ".ids") != nullptr) ++n;
    return ops::is_emulated(on.table) ? 1 : n;
  }
  std::vector<int32_t> ids(int prompt) const {
    return golden_ids(goldens, std::to_string(prompt) + ".ids");
  }
  // Against the reference, relative to the largest magnitude of a tensor. Where factors of products
  // are rounded to bf16, each product of a chain adds a relative error of about 2^-9 that is
  // independent of the others': a layer has 4 (into and out of the mixer, into and out of the
  // feed-forward part), the head one more, and 4 standard deviations are allowed.
  double tolerance() const {
    const double rounding = double{ops::factor_rounding(on.table)};
    const auto layers = static_cast<double>(on.model.config().mixers.size());
    return 2e-4 + 4 * rounding * std::sqrt(4 * layers + 1);
  }
  // Rounded factors may choose another expert where two are nearly alike, and that row is another
  // one then: one row in eight may be.
  void expect_golden(const std::string& name, std::span<const float> actual) const {
    if (ops::factor_rounding(on.table) == 0) return expect_near(goldens, name, actual, tolerance());
    const std::vector<float> expected = to_f32(goldens.view(name));
    ASSERT_EQ(expected.size(), actual.size()) << name;
    const auto width = static_cast<size_t>(goldens.view(name).shape.back());
    size_t beyond = 0;
    Difference worst;
    for (size_t row = 0; row < expected.size(); row += width) {
      const Difference of_row =
          compare(std::span(expected).subspan(row, width), actual.subspan(row, width));
      if (!(of_row.relative <= worst.relative)) worst = of_row;
      beyond += of_row.relative <= tolerance() ? 0 : 1;
    }
    EXPECT_LE(8 * beyond, expected.size() / width)
        << name << ": " << beyond << " rows differ, the worst by " << worst.relative;
  }

  // The final hidden states of a prompt cut into pieces of `chunk` tokens.
  std::vector<float> hidden(const std::vector<int32_t>& tokens, size_t chunk) const {
    SequenceState state = on.model.empty_state();
    std::vector<float> all;
    for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
      const size_t count = std::min(chunk, tokens.size() - begin);
      const std::vector<float> part = on.forward(std::span(tokens).subspan(begin, count), state);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
  // A pass of the MTP head over `rows` of hidden states, reading tokens from `first_token` on.
  std::vector<float> mtp(const std::vector<int32_t>& tokens, size_t first_token,
                         const std::vector<float>& rows) const {
    const auto next = std::span(tokens).subspan(first_token);
    return on.mtp_forward(next,
                          std::span(rows).first(next.size() * static_cast<size_t>(on.width())));
  }

  ModelOnBackend on;
  SafetensorsFile goldens;
};

TEST_P(ForwardGolden, HiddenStatesOfEveryLayerAndLogitsEqualTheReference) {
  ASSERT_GE(n_prompts(), 1);
  for (int prompt = 0; prompt < n_prompts(); ++prompt) {
    const std::string name = std::to_string(prompt);
    const std::vector<int32_t> tokens = ids(prompt);
    SequenceState state = on.model.empty_state();
    const auto layers = static_cast<int64_t>(on.model.config().mixers.size());
    // The reference records the last layer only after the final norm, as `hidden.<layers>`.
    const Model::Observer observer = [&](int64_t level, std::span<const float> values) {
      if (level == layers) return;
      expect_golden(name + ".hidden." + std::to_string(std::min(level, layers)), values);
    };
    const std::vector<float> rows = on.forward(tokens, state, observer);
    expect_golden(name + ".final_norm", rows);
    expect_golden(name + ".logits", on.logits(rows));
  }
}

TEST_P(ForwardGolden, BothMtpDraftsEqualTheReference) {
  ASSERT_TRUE(on.model.has_mtp());
  for (int prompt = 0; prompt < n_prompts(); ++prompt) {
    const std::string name = std::to_string(prompt);
    const std::vector<int32_t> tokens = ids(prompt);
    const std::vector<float> first = mtp(tokens, 1, hidden(tokens, tokens.size()));
    expect_golden(name + ".mtp1.hidden", first);
    expect_golden(name + ".mtp1.logits", on.logits(first));
    expect_golden(name + ".mtp2.logits", on.logits(mtp(tokens, 2, first)));
  }
}

class ForwardPieces : public ForwardGolden {};

TEST_P(ForwardPieces, GiveTheBitsOfPrefillInOne) {
  for (int prompt = 0; prompt < n_prompts(); ++prompt) {
    const std::vector<int32_t> tokens = ids(prompt);
    const std::vector<float> whole = on.logits(hidden(tokens, tokens.size()));
    for (const size_t chunk : {1, 2, 3, 7, 64}) {
      if (ops::is_emulated(on.table) && chunk != 7) continue;
      EXPECT_EQ(whole, on.logits(hidden(tokens, chunk)))
          << "prompt " << prompt << " in chunks of " << chunk;
    }
  }
}

class ForwardGreedy : public ForwardGolden {};

TEST_P(ForwardGreedy, ContinuationsAreIdentical) {
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
      Engine engine(on.model, on.table,
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

std::vector<Case> host_cases() {
  return {{kMicro, kMicroGoldens, "ref"},
          {kMicro, kMicroGoldens, "cpu"},
          {kPocket, kPocketGoldens, "ref"},
          {kPocket, kPocketGoldens, "cpu"}};
}
// And a device's on one model: values on the trained one, which small errors do not lead astray.
std::vector<Case> cases_and(const char* model, const char* model_goldens) {
  std::vector<Case> cases = host_cases();
  for (const std::string& backend : engine_backends())
    if (backend != "cpu") cases.push_back({model, model_goldens, backend});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Backends, ForwardGolden,
                         testing::ValuesIn(cases_and(kPocket, kPocketGoldens)), case_name);
INSTANTIATE_TEST_SUITE_P(Backends, ForwardPieces,
                         testing::ValuesIn(cases_and(kMicro, kMicroGoldens)), case_name);
INSTANTIATE_TEST_SUITE_P(Backends, ForwardGreedy, testing::ValuesIn(host_cases()), case_name);

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
    expect_near(goldens, std::to_string(compared) + ".logits.f32_weights", logits, 2e-4);
  }
  EXPECT_EQ(compared, 5);
}

INSTANTIATE_TEST_SUITE_P(AutoRound, ForeignCheckpoint,
                         testing::Values("tests/data/golden/autoround-rtn",
                                         "tests/data/golden/autoround-tuned"),
                         [](const auto& which) { return which.index == 0 ? "Rtn" : "Tuned"; });

}  // namespace
}  // namespace qround
