#include "cli/eval_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/progress.h"

namespace qround {
namespace {

// With significant rather than decimal digits: divergences span many powers of ten.
std::string significant(const eval::Estimate& e) {
  return fmt::format("{:.4g}  [{:.4g}, {:.4g}]", e.value, e.low, e.high);
}

std::string text_of(const eval::Estimate& e, int digits) {
  return fmt::format("{:.{}f}  [{:.{}f}, {:.{}f}]", e.value, digits, e.low, digits, e.high, digits);
}

void print_lane(const eval::LaneFigures& lane) {
  fmt::print("{}\n  perplexity           {}\n", lane.name, text_of(lane.perplexity, 5));
  if (lane.divergence) {
    const eval::Divergence& d = *lane.divergence;
    fmt::print("  perplexity ratio     {}\n", text_of(d.perplexity_ratio, 5));
    fmt::print("  KL divergence, nats  {}\n", significant(d.mean));
    fmt::print("    median {:.3g}, 90 % {:.3g}, 99 % {:.3g}, 99.9 % {:.3g}, largest {:.3g}\n",
               d.median, d.p90, d.p99, d.p999, d.max);
    fmt::print("  same top token       {}, {} of {} rows differ\n", text_of(d.top_agreement, 5),
               d.top_differs, d.rows);
  }
  for (size_t i = 0; i < lane.drafts.size(); ++i) {
    fmt::print("  MTP draft {}          {}, {} of {} rows\n", i + 1,
               text_of(lane.drafts[i].agreement, 4), lane.drafts[i].hits, lane.drafts[i].rows);
  }
}

void print_layers(const eval::LaneFigures& lane) {
  fmt::print("\n{}: layer, relative error of its output, rows with other experts\n", lane.name);
  for (size_t i = 0; i < lane.layers.size(); ++i) {
    const eval::LayerFigures& layer = lane.layers[i];
    fmt::print("  {:>3}  {:.3g}{}\n", i, layer.relative_error,
               layer.expert_rows.empty() ? "" : fmt::format("  {:.3f} %", 100 * layer.rerouted));
  }
}

void print_ablations(const eval::Evaluation& e) {
  if (e.ablations.empty()) return;
  fmt::print("\nOne class of tensors put back to the source's weights, best bargain first:\n");
  fmt::print("  {:<20} {:>10}  {:>12}  {}\n", "class", "grows by", "per MB",
             "KL divergence falls by");
  for (const eval::Ablation& a : e.ablations) {
    fmt::print("  {:<20} {:>10}  {:>12.3g}  {}\n", a.role,
               bytes_text(static_cast<uint64_t>(std::max<int64_t>(0, a.added_bytes))),
               a.gain_per_megabyte(), significant(a.gain));
  }
}

void print_drafting(const eval::Evaluation& e) {
  if (e.drafting.empty()) return;
  fmt::print("\nReal drafting: {} prompts of {} tokens, {} greedy tokens after each\n",
             e.drafting_options.prompts, e.drafting_options.prompt_tokens,
             e.drafting_options.new_tokens);
  for (const eval::LaneDrafting& lane : e.drafting) {
    for (const eval::DraftingCounts& counts : lane.depths) {
      fmt::print("  {:<9} {} drafts a step: {:.3f} tokens a step; accepted", lane.lane,
                 counts.depth, counts.tokens_per_step());
      for (int64_t i = 0; i < counts.depth; ++i)
        fmt::print(" {} of {}", counts.accepted[static_cast<size_t>(i)], counts.steps);
      fmt::print("\n");
    }
  }
}

}  // namespace

void print_evaluation(const eval::Evaluation& e) {
  fmt::print("{}{}\n", e.directory, e.source.empty() ? "" : " beside its source " + e.source);
  fmt::print("text {}, {} tokens; {} windows\n{}\n", e.text.name, e.text.tokens.size(), e.windows,
             describe(e.protocol));
  fmt::print("[95 % intervals from {} bootstrap draws of windows]\n\n", eval::kBootstrapDraws);
  for (const eval::LaneFigures& lane : e.lanes) print_lane(lane);
  if (e.baseline_difference) {
    fmt::print("\nKL divergence of the baseline minus the result's: {}\n",
               significant(*e.baseline_difference));
  }
  for (const eval::LaneFigures& lane : e.lanes)
    if (lane.divergence) print_layers(lane);
  print_ablations(e);
  print_drafting(e);
  fmt::print("\n{:.1f} s, {} of private memory, backend {}\n", e.seconds,
             bytes_text(e.peak_memory_bytes), e.backend);
}

void print_choices(const eval::ChoiceEvaluation& e) {
  fmt::print("{}: {} questions\n", e.data, e.questions);
  for (const eval::ChoiceFigures& lane : e.lanes) {
    fmt::print("  {:<9} acc {}   acc_norm {}\n", lane.name, text_of(lane.accuracy, 4),
               text_of(lane.accuracy_norm, 4));
  }
}

}  // namespace qround
