// The simulation of each program's name resolution, compared with the tensors.
#include <fmt/format.h>

#include <set>

#include "verify/loading.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

// Findings of all releases of the consumers that `wanted` takes; each module once.
template <typename Wanted>
void check_loadings(const Subject& subject, Findings& findings, const Wanted& wanted) {
  std::set<std::string> seen;
  for (const ConsumerLoading& consumer : *subject.loadings) {
    if (!wanted(*consumer.consumer)) continue;
    for (const Loading& loading : consumer.loadings) {
      const std::string versions(loading.release->versions);
      if (!loading.refusal.empty() && seen.insert(loading.refusal).second)
        findings.add(
            {"config.json", fmt::format("{} refuses it: {}", versions, loading.refusal), "", ""});
      for (const Mismatch& mismatch : loading.mismatches) {
        if (!seen.insert(mismatch.module).second) continue;
        const bool refused = mismatch.config_bits == 0;
        findings.add({mismatch.module, fmt::format("{}: {}", versions, mismatch.text),
                      refused ? "" : fmt::format("{} bits, as in the file", mismatch.file_bits),
                      refused ? "" : fmt::format("{} bits", mismatch.config_bits)});
      }
    }
  }
}

}  // namespace

void check_resolution_old_vllm(const Subject& subject, Findings& findings) {
  check_loadings(subject, findings, [](const Consumer& consumer) {
    return consumer.reader == Reader::vllm && consumer.releases.front().skips_unknown_tensors;
  });
}

void check_resolution_vllm(const Subject& subject, Findings& findings) {
  check_loadings(subject, findings, [](const Consumer& consumer) {
    return consumer.reader == Reader::vllm && !consumer.releases.front().skips_unknown_tensors;
  });
}

void check_resolution_sglang(const Subject& subject, Findings& findings) {
  if (subject.is_gptq()) return;
  check_loadings(subject, findings,
                 [](const Consumer& consumer) { return consumer.reader == Reader::sglang; });
}

void check_resolution_transformers(const Subject& subject, Findings& findings) {
  if (subject.is_gptq()) return;
  check_loadings(subject, findings,
                 [](const Consumer& consumer) { return consumer.reader == Reader::transformers; });
}

}  // namespace qround::verify
