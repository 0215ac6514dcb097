#include "verify/verdict.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "verify/kernel_choice.h"

namespace qround::verify {
namespace {

struct Cause {
  VerdictKind kind;
  std::string text;
};

Effect effect_on(const Rule& rule, Reader reader) {
  switch (reader) {
    case Reader::vllm:
      return rule.effects.vllm;
    case Reader::sglang:
      return rule.effects.sglang;
    case Reader::transformers:
      return rule.effects.transformers;
  }
  return Effect::none;
}

std::optional<Cause> cause_of(const Breach& breach, Reader reader) {
  // One line; the finding has the rest.
  const std::string text =
      fmt::format("{}: {}", breach.rule->id, breach.first.substr(0, breach.first.find('\n')));
  switch (effect_on(*breach.rule, reader)) {
    case Effect::none:
      return std::nullopt;
    case Effect::stops:
      return Cause{VerdictKind::fails_loudly, text};
    case Effect::corrupts:
      return Cause{VerdictKind::silent_garbage, text};
  }
  return std::nullopt;
}

Cause cause_of(const Mismatch& mismatch) {
  std::string text = mismatch.text;
  if (!mismatch.loud)
    text = fmt::format("{} is built with {} bits, the file has {}: {}", mismatch.module,
                       mismatch.config_bits, mismatch.file_bits, mismatch.text);
  if (mismatch.draft)
    text = (mismatch.loud ? "when the MTP head drafts: " : "the MTP head drafts nonsense: ") + text;
  return {mismatch.loud ? VerdictKind::fails_loudly : VerdictKind::silent_garbage, text};
}

// The first cause that stops the program, else the first that corrupts; the network itself before
// its draft head.
std::optional<Cause> worst(const Loading& loading) {
  if (!loading.refusal.empty()) return Cause{VerdictKind::fails_loudly, loading.refusal};
  for (const bool draft : {false, true}) {
    for (const bool loud : {true, false}) {
      for (const Mismatch& mismatch : loading.mismatches) {
        if (mismatch.draft == draft && mismatch.loud == loud) return cause_of(mismatch);
      }
    }
  }
  return std::nullopt;
}

std::optional<Cause> worst(const std::vector<Breach>& breaches, Reader reader) {
  std::optional<Cause> found;
  for (const Breach& breach : breaches) {
    const std::optional<Cause> cause = cause_of(breach, reader);
    if (!cause) continue;
    if (cause->kind == VerdictKind::fails_loudly) return cause;
    if (!found) found = cause;
  }
  return found;
}

std::optional<Cause> worst(const std::vector<KernelChoice>& choices) {
  for (const KernelChoice& choice : choices) {
    if (choice.fit == Fit::refused)
      return Cause{VerdictKind::fails_loudly, fmt::format("{}: {}", choice.module, choice.text)};
  }
  for (const KernelChoice& choice : choices) {
    if (choice.fit == Fit::undefined)
      return Cause{VerdictKind::silent_garbage, fmt::format("{}: {}", choice.module, choice.text)};
  }
  return std::nullopt;
}

std::string kernels_text(const std::vector<KernelChoice>& choices) {
  std::vector<std::string> kernels;
  for (const KernelChoice& choice : choices) {
    std::string text = choice.kernel;
    if (choice.fit == Fit::slow) text += " (slower: " + choice.text + ")";
    if (std::find(kernels.begin(), kernels.end(), text) == kernels.end())
      kernels.push_back(std::move(text));
  }
  return fmt::format("{}", fmt::join(kernels, ", "));
}

bool simulated(const Subject& subject, Reader reader) {
  return !subject.is_gptq() || reader == Reader::vllm;
}

// One release of a consumer.
Cause judge_release(const Subject& subject, Reader reader, const Loading& loading,
                    const std::vector<Breach>& breaches, int64_t tp) {
  const std::optional<Cause> names = worst(loading);
  const std::optional<Cause> broken = worst(breaches, reader);
  for (const std::optional<Cause>& cause : {names, broken}) {
    if (cause && cause->kind == VerdictKind::fails_loudly) return *cause;
  }
  if (reader != Reader::transformers) {
    const std::string heads = refusal_of_heads(subject.model, tp);
    if (!heads.empty()) return {VerdictKind::fails_loudly, "AssertionError: " + heads};
  }
  const std::vector<KernelChoice> choices = choose_kernels(subject, reader, *loading.release, tp);
  const std::optional<Cause> shapes = worst(choices);
  if (shapes && shapes->kind == VerdictKind::fails_loudly) return *shapes;
  for (const std::optional<Cause>& cause : {names, broken, shapes}) {
    if (cause) return *cause;
  }
  if (!simulated(subject, reader))
    return {VerdictKind::not_simulated, "how it resolves names under quant_method gptq"};
  return {VerdictKind::ok, kernels_text(choices)};
}

int rank(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::ok:
      return 0;
    case VerdictKind::not_simulated:
      return 1;
    case VerdictKind::fails_loudly:
      return 2;
    case VerdictKind::silent_garbage:
      return 3;
  }
  return 0;
}

Verdict judge_consumer(const Subject& subject, const ConsumerLoading& loading,
                       const std::vector<Breach>& breaches, int64_t tp) {
  Verdict verdict{
      .consumer = std::string(loading.consumer->id), .tp = tp, .text = {}, .release = {}};
  bool first = true, differ = false;
  std::string of_release;
  for (const Loading& release : loading.loadings) {
    Cause cause = judge_release(subject, loading.consumer->reader, release, breaches,
                                std::max<int64_t>(tp, 1));
    differ |= !first && cause.kind != verdict.kind;
    if (first || rank(cause.kind) > rank(verdict.kind)) {
      verdict.kind = cause.kind;
      verdict.text = std::move(cause.text);
      of_release = release.release->versions;
    }
    first = false;
  }
  if (differ) verdict.release = of_release;
  return verdict;
}

Verdict judge_unopened(const Consumer& consumer, const std::vector<Breach>& breaches, int64_t tp) {
  const std::optional<Cause> cause = worst(breaches, consumer.reader);
  return {std::string(consumer.id),
          tp,
          cause ? cause->kind : VerdictKind::not_simulated,
          cause ? cause->text : "the directory cannot be opened",
          {}};
}

}  // namespace

std::string_view verdict_name(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::ok:
      return "OK";
    case VerdictKind::fails_loudly:
      return "fails loudly";
    case VerdictKind::silent_garbage:
      return "SILENT GARBAGE";
    case VerdictKind::not_simulated:
      return "not simulated";
  }
  return "";
}

std::vector<Verdict> judge(const Subject* subject, const std::vector<ConsumerLoading>& loadings,
                           const std::vector<Breach>& breaches, const std::vector<int64_t>& tps) {
  std::vector<Verdict> verdicts;
  for (const ConsumerLoading& loading : loadings) {
    const bool splits = loading.consumer->reader != Reader::transformers;
    for (const int64_t tp : splits ? tps : std::vector<int64_t>{0}) {
      verdicts.push_back(subject == nullptr ? judge_unopened(*loading.consumer, breaches, tp)
                                            : judge_consumer(*subject, loading, breaches, tp));
    }
  }
  return verdicts;
}

}  // namespace qround::verify
