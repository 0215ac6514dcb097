#include "cli/draft_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "tokenizer/tokenizer.h"

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

std::vector<std::vector<int32_t>> random_prompts(int64_t count, int64_t length, int64_t vocab) {
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(count));
  for (size_t i = 0; i < prompts.size(); ++i)
    for (int64_t t = 0; t < length; ++t)
      prompts[i].push_back(static_cast<int32_t>(random_bits(i, 0, static_cast<uint64_t>(t)) %
                                                static_cast<uint64_t>(vocab)));
  return prompts;
}

std::vector<std::vector<int32_t>> prompts_of_text(const std::filesystem::path& directory,
                                                  const std::filesystem::path& text, int64_t count,
                                                  int64_t length) {
  const std::vector<int32_t> ids = Tokenizer::load(directory).encode(read_file(text));
  const int64_t spare = static_cast<int64_t>(ids.size()) - length;
  if (spare < 0) {
    throw Error("the text is shorter than a prompt")
        .file(text)
        .expected(fmt::format("{} tokens", length))
        .actual(fmt::format("{}", ids.size()))
        .hint("give a longer text or a smaller --prompt");
  }
  std::vector<std::vector<int32_t>> prompts;
  for (int64_t i = 0; i < count; ++i) {
    const auto begin = ids.begin() + i * spare / count;
    prompts.emplace_back(begin, begin + length);
  }
  return prompts;
}

}  // namespace qround
