// The programs that load int4 checkpoints, release by release as far as releases differ in what
// they make of one.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qround::verify {

enum class Reader { vllm, sglang, transformers };

// Switches between releases of vLLM; SGLang and transformers are one release each here.
struct Release {
  std::string_view versions;           // "0.25-0.26"
  bool expert_keys_decide = false;     // a key below an experts module decides the whole layer
  bool fused_names_always = false;     // shards of a fused module are asked even when no key names
                                       // one of them
  bool short_keys = false;             // a key may be the end of a run-time name
  bool skips_unknown_tensors = false;  // with a warning; else it stops
  bool needs_sym = false;
  bool pads_tiles = false;           // Marlin's, with zeros
  bool replicates_ba = false;        // in_proj_ba is not split among GPUs
  bool dynamic_exempts_mtp = false;  // a "-:" key of `dynamic` that mentions mtp
};

struct Consumer {
  std::string_view id;  // "vllm>=0.25"
  Reader reader;
  std::span<const Release> releases;  // oldest first
  std::string_view needs;             // versions and packages
  std::string_view command;           // how to start it
  std::string_view notes;
};

std::span<const Consumer> consumers();

// Consumers whose id begins with one of `names` ("vllm" means all of its releases). Throws Error
// naming the ones there are when a name matches none. No names: all.
std::vector<const Consumer*> select_consumers(const std::vector<std::string>& names);

}  // namespace qround::verify
