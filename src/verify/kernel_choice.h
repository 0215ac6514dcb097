// Which kernel an engine would run an int4 module with when the model is split among `tp` GPUs, or
// why none takes its shape. Rules as read in vLLM 0.33.0 and SGLang 0.5.23; docs/verify.md has the
// table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "verify/name_resolution.h"
#include "verify/subject.h"

namespace qround::verify {

enum class Fit {
  good,
  slow,       // runs, on a fallback
  refused,    // stops with `text`
  undefined,  // starts and may compute something else: `text`
};

struct KernelChoice {
  std::string module;
  Fit fit = Fit::good;
  std::string kernel;    // "Marlin"; empty unless it runs
  std::string text;      // why it does not, or not well
  bool experts = false;  // the module is all experts of a layer
};

// Of every int4 module that differs in shape or kernel: one entry for each kind of module.
std::vector<KernelChoice> choose_kernels(const Subject& subject, Reader reader,
                                         const Release& release, int64_t tp);

// Why the heads of the network do not divide among `tp` GPUs; empty: they do.
std::string refusal_of_heads(const ModelConfig& config, int64_t tp);

}  // namespace qround::verify
