// Options that several commands share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/threads.h"
#include "engine/sampler.h"
#include "ops/backend.h"

namespace CLI {
class App;
}

namespace qround {

struct ComputeOptions {
  int threads = 0;  // 0: all
  std::string backend;
  std::string gpu_memory;  // most to take of it; empty: what is free
  ops::Activations activations = ops::Activations::f32;
  bool int8_copies = false;  // of the maps a checkpoint keeps in BF16

  Threads thread_count() const;
  // To run networks with: the named one, or the best one in host memory. Throws Error.
  const ops::OpTable& table() const;
  uint64_t gpu_memory_bytes() const;  // 0: what is free
  ops::OpContext context(ops::Workspace& workspace) const {
    return {thread_count(), workspace, activations};
  }
};
void add_compute_options(CLI::App& app, ComputeOptions& options);
// For commands that run networks on a device.
void add_gpu_memory_option(CLI::App& app, ComputeOptions& options);
// For commands that answer: int4 maps take 8-bit inputs unless --exact is given, BF16 maps are read
// as they are unless --int8-copies is.
void add_int8_options(CLI::App& app, ComputeOptions& options);

// Sampling as given on the command line; what is not given comes from the model's
// generation_config.json.
struct SamplingFlags {
  SamplingOptions values;
  bool greedy = false;
  std::vector<std::string> given;  // names of the flags that were given

  // `generation_config` may be null.
  SamplingOptions resolve(const class Json& generation_config) const;
};
void add_sampling_options(CLI::App& app, SamplingFlags& flags);

}  // namespace qround
