#include "cli/common_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/json.h"
#include "cli/size.h"

namespace qround {

Threads ComputeOptions::thread_count() const {
  return threads > 0 ? Threads{threads} : Threads::all();
}

const ops::OpTable& ComputeOptions::table() const {
  return backend.empty() ? ops::select_host_backend() : ops::select_backend(backend);
}

uint64_t ComputeOptions::gpu_memory_bytes() const {
  return gpu_memory.empty() ? 0 : parse_size(gpu_memory);
}

void add_gpu_memory_option(CLI::App& app, ComputeOptions& options) {
  app.add_option("--gpu-memory", options.gpu_memory,
                 "With --backend cuda: most of the GPU's memory to take, such as 24G; default: "
                 "what is free");
}

void add_compute_options(CLI::App& app, ComputeOptions& options) {
  app.add_option("--threads", options.threads, "Threads to use; 0: all processors")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--backend", options.backend,
                 "Operations to run with (see `qround info`); default: the best one");
}

void add_int8_options(CLI::App& app, ComputeOptions& options) {
  options.activations = ops::Activations::int8;
  CLI::Option* exact = app.add_flag_callback(
      "--exact", [&options] { options.activations = ops::Activations::f32; },
      "Give linear maps their inputs in f32, not rounded to 8 bits (int4 maps) and BF16: the "
      "reference's logits, slower");
  app.add_flag("--int8-copies", options.int8_copies,
               "Hold lm_head, shared experts and other BF16 maps as int8 in memory: less to read "
               "for each token")
      ->excludes(exact);
}

void add_sampling_options(CLI::App& app, SamplingFlags& flags) {
  SamplingOptions& v = flags.values;
  const auto note = [&app, &flags](const char* name, auto& value, const char* text) {
    app.add_option(name, value, text)->each([&flags, name](const std::string&) {
      flags.given.emplace_back(name);
    });
  };
  note("--temperature", v.temperature, "0 is greedy");
  note("--top-k", v.top_k, "Keep the k most likely tokens; 0: all");
  note("--top-p", v.top_p, "Keep the smallest set of tokens whose probability reaches p");
  note("--min-p", v.min_p, "Drop tokens less likely than this share of the likeliest");
  note("--repetition-penalty", v.repetition_penalty,
       "Above 1: tokens seen before become less likely");
  note("--presence-penalty", v.presence_penalty,
       "Subtracted from logits of tokens generated before");
  note("--frequency-penalty", v.frequency_penalty, "Subtracted per earlier occurrence");
  app.add_option("--seed", v.seed, "Seed of the draws")->capture_default_str();
  app.add_flag("--greedy", flags.greedy, "Always the likeliest token; same as --temperature 0");
}

SamplingOptions SamplingFlags::resolve(const Json& generation_config) const {
  SamplingOptions result = values;
  const auto is_given = [this](const char* name) {
    return std::find(given.begin(), given.end(), name) != given.end();
  };
  const auto fill = [&](const char* flag, const char* key, auto& value) {
    const Json* stored = generation_config.find(key);
    if (is_given(flag) || stored == nullptr || !stored->is_number()) return;
    value = static_cast<std::remove_reference_t<decltype(value)>>(stored->as_double());
  };
  const Json* do_sample = generation_config.find("do_sample");
  const bool samples = do_sample != nullptr && do_sample->is_bool() && do_sample->as_bool();
  if (samples && !is_given("--temperature")) {
    result.temperature = 1;
    fill("--temperature", "temperature", result.temperature);
  }
  fill("--top-k", "top_k", result.top_k);
  fill("--top-p", "top_p", result.top_p);
  fill("--min-p", "min_p", result.min_p);
  fill("--repetition-penalty", "repetition_penalty", result.repetition_penalty);
  if (greedy) result.temperature = 0;
  result.validate();
  return result;
}

}  // namespace qround
