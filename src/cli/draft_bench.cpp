#include "cli/draft_bench.h"

#include <algorithm>
#include <chrono>

namespace qround {
namespace {

// The end of a request, and nothing before it.
Finish finish_of(Generation& generation) {
  while (true) {
    std::optional<Event> event = generation.next(std::chrono::hours(1));
    if (event && event->finish) return std::move(*event->finish);
  }
}

}  // namespace

DraftBenchCase bench_drafts(const Model& model, const ops::OpTable& ops, const DraftBenchRun& run,
                            int depth) {
  EngineOptions options = run.options;
  options.max_sequences = static_cast<int64_t>(run.prompts.size());
  options.prefix_cache_share = 0;
  options.drafts.automatic = false;
  options.drafts.depth = depth;
  options.context = run.decode;
  for (const std::vector<int32_t>& prompt : run.prompts)
    options.context =
        std::max(options.context, run.decode + static_cast<int64_t>(prompt.size()) + 1);
  Engine engine(model, ops, options);
  std::vector<Generation> generations;
  for (const std::vector<int32_t>& prompt : run.prompts)
    generations.push_back(engine.submit({.tokens = prompt, .max_tokens = run.decode}));

  DraftBenchCase result{.batch = options.max_sequences, .depth = depth};
  double end = 0;
  for (Generation& generation : generations) {
    const Finish finish = finish_of(generation);
    if (finish.error) throw *finish.error;
    const Usage& usage = finish.usage;
    const double first_token = usage.queue_seconds + usage.prefill_seconds;
    result.prefill_seconds = std::max(result.prefill_seconds, first_token);
    end = std::max(end, first_token + usage.decode_seconds);
    result.prompt_tokens += usage.prompt_tokens;
    result.decoded_tokens += usage.output_tokens;
    result.drafted += usage.drafted_tokens;
    result.accepted += usage.accepted_tokens;
  }
  result.decode_seconds = end - result.prefill_seconds;
  result.passes = engine.metrics().passes;
  return result;
}

}  // namespace qround
