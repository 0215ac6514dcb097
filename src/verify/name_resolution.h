// Which settings each program's loader gives to a module: a simulation of their name resolution.
//
// All three read the same keys and make different things of them. vLLM renames keys to its own
// module names first and looks for expressions anywhere in a name; SGLang keeps the names of the
// file and lets an expression match the whole name only; auto-round expands keys over the Linear
// modules of the unfused network. What a program fuses (q, k and v; gate and up; all experts of a
// layer) is one module to it.
//
// Tested by the damages of names in tests/verify, and against the programs' own functions by
// oracle/verify_resolution.py.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "model/tensor_table.h"
#include "verify/consumer.h"
#include "verify/quantization_names.h"

namespace qround::verify {

struct Settings {
  int64_t bits = 16, group_size = -1;
  bool sym = true;

  bool quantized() const { return bits < 16; }
  friend bool operator==(const Settings&, const Settings&) = default;
};

struct Resolution {
  Settings settings;
  std::string refusal;  // not empty: the program stops, and this is the text to expect

  friend bool operator==(const Resolution&, const Resolution&) = default;
};

enum class ModuleKind { linear, experts, lm_head };

// A module as the program builds it.
struct RuntimeModule {
  std::string name;
  ModuleKind kind = ModuleKind::linear;
  bool may_be_quantized = true;          // false: built without asking the configuration
  std::vector<const Parameter*> shards;  // maps of the file that it holds, of the table

  const Parameter& first() const { return *shards.front(); }
};

// In the table's order. vLLM and SGLang: fused; transformers: every Linear on its own, without MTP.
std::vector<RuntimeModule> runtime_modules(Reader reader, const TensorTable& table);

// A name of the file as vLLM's main class renames it; all names.
std::string vllm_name(const std::string& name, bool text_only);
QuantizationNames vllm_names(const QuantizationNames& names, bool text_only);

// `names` from vllm_names.
Resolution resolve_vllm(const QuantizationNames& names, const Release& release,
                        const RuntimeModule& module);
Resolution resolve_sglang(const QuantizationNames& names, const RuntimeModule& module);

// auto-round expands all keys at once. Modules without an entry are not quantized.
struct TransformersResolution {
  std::unordered_map<std::string, Settings> of_module;
  std::string refusal;
};
TransformersResolution resolve_transformers(const QuantizationNames& names,
                                            const std::vector<RuntimeModule>& modules);

}  // namespace qround::verify
