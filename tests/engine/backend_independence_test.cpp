// What the engine promises, on every backend that runs here: a request's text depends neither on
// how its prompt is cut, nor on drafts, nor on requests beside it. On a device that also means that
// recorded passes repeat what was enqueued.
#include <gtest/gtest.h>

#include "tests/engine/drafting.h"
#include "tests/engine/on_backends.h"

namespace qround {
namespace {

class BackendIndependence : public testing::TestWithParam<std::string> {
 protected:
  std::vector<std::vector<int32_t>> texts(const EngineOptions& options,
                                          const std::vector<std::vector<int32_t>>& of,
                                          const SamplingOptions& sampling = {}) {
    std::vector<std::vector<int32_t>> tokens;
    for (EngineOutput& output :
         outputs_of(model, options, of, sampling, kTokens, GetParam().c_str())) {
      drafted += output.finish.usage.drafted_tokens;
      accepted += output.finish.usage.accepted_tokens;
      tokens.push_back(std::move(output.tokens));
    }
    return tokens;
  }

  static constexpr int64_t kTokens = 10;
  const RandomModelDirectory directory;
  const Model model =
      make_random_model(directory.path(), {}, 9).in(*ops::select_backend(GetParam()).memory);
  const std::vector<std::vector<int32_t>> prompts = {random_prompt(1, 100), random_prompt(2, 100),
                                                     random_prompt(5, 100)};
  int64_t drafted = 0, accepted = 0;
};

TEST_P(BackendIndependence, DraftsNeighboursAndPiecesChangeNothing) {
  const auto expected = texts(options_for(0), prompts);
  EXPECT_EQ(drafted, 0);
  EXPECT_EQ(texts(options_for(3), prompts), expected);
  EXPECT_GT(drafted, 0);
  EXPECT_LT(accepted, drafted);
  EngineOptions pieces = options_for(0);
  pieces.prefill_chunk = 5;
  EXPECT_EQ(texts(pieces, prompts), expected);
  for (size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(texts(options_for(i == 0 ? 2 : 0), {prompts[i]}).front(), expected[i]);
}

TEST_P(BackendIndependence, SampledTextsAreThoseWithoutDrafts) {
  const SamplingOptions sampling{.temperature = 0.8f, .top_k = 20, .seed = 4};
  EXPECT_EQ(texts(options_for(2), prompts, sampling), texts(options_for(0), prompts, sampling));
}

TEST_P(BackendIndependence, AnInt4DraftHeadChangesNothing) {
  EngineOptions options = options_for(2);
  const auto expected = texts(options_for(0), {prompts[1]});
  options.drafts.int4_head = true;
  EXPECT_EQ(texts(options, {prompts[1]}), expected);
  EXPECT_GT(drafted, 0);
}

INSTANTIATE_TEST_SUITE_P(, BackendIndependence, testing::ValuesIn(engine_backends()), backend_name);

// A device's memory has an end that is told with what is needed.
class DeviceMemory : public testing::TestWithParam<std::string> {};

TEST_P(DeviceMemory, ABudgetTooSmallSaysWhatIsNeeded) {
  const ops::Memory& memory = *ops::select_backend(GetParam()).memory;
  const RandomModelDirectory directory;
  const Model mapped = make_random_model(directory.path(), {}, 9);
  if (memory.is_host) return;
  try {
    mapped.in(memory, Model::Parts::all, 1000);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_NE(error.hint().find("--gpu-memory"), std::string::npos);
  }
  const Model model = mapped.in(memory, Model::Parts::all, 1 << 20);
  EXPECT_GT(model.copied_bytes(), 100'000u);
  EngineOptions options = options_for(0);
  options.device_memory_bytes = model.copied_bytes() + 1000;
  try {
    Engine(model, ops::select_backend(GetParam()), options);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_NE(error.expected().find("of weights"), std::string::npos) << error.expected();
  }
}

INSTANTIATE_TEST_SUITE_P(, DeviceMemory, testing::ValuesIn(engine_backends()), backend_name);

}  // namespace
}  // namespace qround
