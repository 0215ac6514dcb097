#include "model/training_memory.h"

#include <gtest/gtest.h>

#include "ops/backend.h"
#include "tests/model/random_block.h"

namespace qround {
namespace {

// Runs forward and backward with everything computed; the bytes the workspace then holds.
int64_t scratch_after_a_pass(const RandomBlock& block, TrainingBatch batch, const char* backend,
                             Threads threads, ops::Activations activations) {
  ops::Workspace workspace;
  const Executor executor{ops::select_backend(backend), {threads, workspace, activations}};
  const auto count = static_cast<size_t>(batch.tokens() * block.config().hidden);
  std::vector<float> x = block.values(count), y(count), dx(count);
  VectorGradients vectors;
  const BlockGradients everything{.wants = [](LinearId) { return true; },
                                  .consume = [](LinearId, const ops::WeightGradientTile&) {},
                                  .dx = dx.data(),
                                  .vectors = &vectors};
  BlockTraining training(block.config(), block.mixer(), batch);
  training.forward(block.weights(), x.data(), y.data(), executor);
  training.backward(block.weights(), x.data(), y.data(), everything, executor);
  return static_cast<int64_t>(workspace.reserved_bytes());
}

TEST(TrainingMemory, BoundsTheScratchOfBothPasses) {
  for (const MixerKind mixer : {MixerKind::attention, MixerKind::delta_net})
    for (const bool moe : {true, false}) {
      const RandomBlock block(mixer, moe);
      for (const TrainingBatch batch : {TrainingBatch{1, 1}, {2, 70}, {5, 33}})
        for (const char* backend : {"ref", "cpu"})
          for (const Threads threads : {Threads{1}, Threads{3}})
            for (const auto activations : {ops::Activations::f32, ops::Activations::bf16}) {
              const int64_t promised =
                  training_memory(block.config(), mixer, batch, threads, activations).scratch_bytes;
              EXPECT_LE(scratch_after_a_pass(block, batch, backend, threads, activations),
                        promised + 4095)
                  << backend << ", " << batch.sequences << " x " << batch.length;
            }
    }
}

TEST(TrainingMemory, OfAFullWidthBlockIsAFewGigabytes) {
  ModelConfig config;
  config.hidden = 2048;
  config.attention = {.heads = 16, .kv_heads = 2, .head_dim = 256, .rotary_dim = 64};
  config.delta_net = {
      .key_heads = 16, .value_heads = 32, .key_dim = 128, .value_dim = 128, .conv_taps = 4};
  config.moe = MoeConfig{.experts = 256, .chosen = 8, .expert_width = 512, .shared_width = 512};
  const TrainingMemory memory =
      training_memory(config, MixerKind::delta_net, {.sequences = 8, .length = 2048}, Threads{16},
                      ops::Activations::f32);
  // 27,737 floats a token kept: C + 2 Hv Dv + 2 Hv, H, 8 x (2 x 512 + 3), 2 x 512 + 1.
  EXPECT_EQ(memory.activation_bytes, int64_t{4} * 16384 * 27'737);
  EXPECT_LT(memory.scratch_bytes, int64_t{2} << 30);
}

}  // namespace
}  // namespace qround
