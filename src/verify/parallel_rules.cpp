// Shapes when the model is split among GPUs, for the sizes the user asked for.
#include <fmt/format.h>

#include "verify/kernel_choice.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

const Consumer& newest(Reader reader) {
  const Consumer* found = nullptr;
  for (const Consumer& consumer : consumers()) {
    if (consumer.reader == reader) found = &consumer;
  }
  return *found;
}

std::vector<KernelChoice> choices(const Subject& subject, Reader reader, int64_t tp) {
  return choose_kernels(subject, reader, newest(reader).releases.back(), tp);
}

std::string split(int64_t tp) { return fmt::format("tensor parallel size {}", tp); }

// A linear map whose groups of inputs would be cut between GPUs.
bool cuts_groups(const Subject& subject, const Parameter& p, int64_t tp) {
  const int64_t group = subject.names.group_size;
  return p.shard == ShardAxis::inputs && p.expert < 0 && group > 0 &&
         (p.shape[1] % tp != 0 || p.shape[1] / tp % group != 0);
}

}  // namespace

void check_tp_heads(const Subject& subject, Findings& findings) {
  for (const int64_t tp : subject.tps) {
    const std::string refusal = refusal_of_heads(subject.model, tp);
    if (!refusal.empty()) findings.add({split(tp), refusal, "", ""});
  }
}

void check_tp_groups(const Subject& subject, Findings& findings) {
  for (const int64_t tp : subject.tps) {
    for (const StoredForm& stored : subject.forms) {
      const Parameter& p = *stored.parameter;
      if (stored.form != Form::int4 || !cuts_groups(subject, p, tp)) continue;
      findings.add({p.module, fmt::format("{} cuts groups of inputs", split(tp)),
                    fmt::format("a multiple of {} inputs per GPU", subject.names.group_size),
                    fmt::format("{} / {}", p.shape[1], tp)});
      break;  // layers are alike
    }
  }
}

void check_tp_tiles(const Subject& subject, Findings& findings) {
  for (const int64_t tp : subject.tps) {
    for (const KernelChoice& choice : choices(subject, Reader::sglang, tp)) {
      const Parameter* p = subject.table.find_module(choice.module);
      const bool other_rule = p != nullptr && cuts_groups(subject, *p, tp);
      if (choice.fit == Fit::good || choice.fit == Fit::slow || other_rule || choice.experts) {
        continue;
      }
      findings.add({choice.module, fmt::format("{}: {}", split(tp), choice.text),
                    "N a multiple of 64, K of 128", ""});
    }
  }
}

void check_tp_experts(const Subject& subject, Findings& findings) {
  for (const int64_t tp : subject.tps) {
    for (const KernelChoice& choice : choices(subject, Reader::vllm, tp)) {
      if (choice.fit == Fit::refused && choice.experts)
        findings.add({choice.module, fmt::format("{}: {}", split(tp), choice.text), "", ""});
    }
  }
}

void check_tp_slow(const Subject& subject, Findings& findings) {
  for (const int64_t tp : subject.tps) {
    for (const KernelChoice& choice : choices(subject, Reader::vllm, tp)) {
      if (choice.fit == Fit::slow)
        findings.add({choice.module, fmt::format("{}: {}", split(tp), choice.text), "MoE Marlin",
                      choice.kernel});
    }
  }
}

}  // namespace qround::verify
