// What each program makes of the checkpoint: one verdict for each consumer and number of GPUs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "verify/consumer.h"
#include "verify/loading.h"
#include "verify/rule.h"

namespace qround::verify {

enum class VerdictKind {
  ok,
  fails_loudly,    // it stops; the text is the message to expect
  silent_garbage,  // it runs and computes something else; the text says why
  not_simulated,   // its rules for such a checkpoint are not known here
};

std::string_view verdict_name(VerdictKind kind);

struct Verdict {
  std::string consumer;
  int64_t tp = 1;  // 0: any number of GPUs
  VerdictKind kind = VerdictKind::ok;
  std::string text;     // kernels where it is ok
  std::string release;  // the one it is about, where a consumer's releases differ; else empty
};

// A rule that was broken, with what a breach does.
struct Breach {
  const Rule* rule;
  std::string first;  // its first finding in words
};

// `subject` null: the directory could not be opened, and `breaches` says why.
std::vector<Verdict> judge(const Subject* subject, const std::vector<ConsumerLoading>& loadings,
                           const std::vector<Breach>& breaches, const std::vector<int64_t>& tps);

}  // namespace qround::verify
