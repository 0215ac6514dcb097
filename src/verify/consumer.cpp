#include "verify/consumer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace qround::verify {
namespace {

constexpr Release kVllm021[] = {{.versions = "0.17-0.21",
                                 .expert_keys_decide = true,
                                 .fused_names_always = true,
                                 .skips_unknown_tensors = true,
                                 .needs_sym = true}};
constexpr Release kVllm024[] = {{.versions = "0.22-0.23",
                                 .fused_names_always = true,
                                 .skips_unknown_tensors = true,
                                 .needs_sym = true,
                                 .replicates_ba = true},
                                {.versions = "0.24",
                                 .skips_unknown_tensors = true,
                                 .needs_sym = true,
                                 .pads_tiles = true,
                                 .replicates_ba = true}};
constexpr Release kVllm025[] = {
    {.versions = "0.25-0.26", .needs_sym = true, .pads_tiles = true, .replicates_ba = true},
    {.versions = "0.27-0.28",
     .short_keys = true,
     .needs_sym = true,
     .pads_tiles = true,
     .replicates_ba = true,
     .dynamic_exempts_mtp = true},
    {.versions = "0.29-0.33",
     .short_keys = true,
     .pads_tiles = true,
     .replicates_ba = true,
     .dynamic_exempts_mtp = true}};
constexpr Release kSglang[] = {{.versions = "0.5.23",
                                .expert_keys_decide = true,
                                .fused_names_always = true,
                                .skips_unknown_tensors = true,
                                .needs_sym = true}};
constexpr Release kTransformers[] = {
    {.versions = "5.23 + auto-round 0.16.1", .skips_unknown_tensors = true}};

constexpr std::string_view kVllmCommand =
    "vllm serve DIR --tensor-parallel-size TP --reasoning-parser qwen3 --enable-auto-tool-choice "
    "--tool-call-parser qwen3_coder --speculative-config "
    "'{\"method\":\"mtp\",\"num_speculative_tokens\":2}'";
constexpr std::string_view kVllmNotes =
    "Leave VLLM_MARLIN_INPUT_DTYPE unset: 8-bit activations read negative scales as positive "
    "(vllm#48905). Pass no --quantization. From 0.32 on, --model-loader-extra-config "
    "'{\"enable_weights_track\": true}' turns a missing tensor into an error; start once with it. "
    "On a CPU int4 experts load only under a gptq configuration.";

constexpr Consumer kConsumers[] = {
    {"vllm<=0.21", Reader::vllm, kVllm021, "vLLM 0.17 or later; 0.19 is recommended", kVllmCommand,
     kVllmNotes},
    {"vllm0.22-0.24", Reader::vllm, kVllm024, "vLLM 0.22 to 0.24", kVllmCommand, kVllmNotes},
    {"vllm>=0.25", Reader::vllm, kVllm025,
     "vLLM 0.25 or later (rules read in 0.33.0); transformers 5.16.1 to 5.20", kVllmCommand,
     kVllmNotes},
    {"sglang", Reader::sglang, kSglang, "SGLang 0.5.10 or later (rules read in 0.5.23)",
     "python -m sglang.launch_server --model-path DIR --tp-size TP --reasoning-parser qwen3 "
     "--tool-call-parser qwen3_coder --speculative-algo NEXTN --speculative-num-steps 3 "
     "--speculative-eagle-topk 1 --speculative-num-draft-tokens 4",
     "On ROCm pass --disable-shared-experts-fusion when shared experts are BF16. On a CPU it needs "
     "Intel AMX, and there it reads qzeros."},
    {"transformers", Reader::transformers, kTransformers,
     "transformers 5.2 or later and an auto-round that knows qwen3_5_moe (rules read in 5.23.0 and "
     "0.16.1); gptqmodel 2.0 or later for speed",
     "AutoModelForImageTextToText.from_pretrained(DIR, device_map=\"auto\")",
     "The MTP head is ignored. The slower kernels read qzeros, the fast ones do not."},
};

}  // namespace

std::span<const Consumer> consumers() { return kConsumers; }

std::vector<const Consumer*> select_consumers(const std::vector<std::string>& names) {
  std::vector<const Consumer*> selected;
  for (const Consumer& consumer : kConsumers) {
    const bool wanted = names.empty() || std::any_of(names.begin(), names.end(), [&](auto& name) {
                          return consumer.id.starts_with(name);
                        });
    if (wanted) selected.push_back(&consumer);
  }
  for (const std::string& name : names) {
    if (!name.empty() && std::any_of(selected.begin(), selected.end(), [&](const Consumer* one) {
          return one->id.starts_with(name);
        })) {
      continue;
    }
    std::vector<std::string_view> known;
    for (const Consumer& consumer : kConsumers) known.push_back(consumer.id);
    throw Error("unknown consumer")
        .expected(fmt::format("vllm, {}", fmt::join(known, ", ")))
        .actual(name);
  }
  return selected;
}

}  // namespace qround::verify
