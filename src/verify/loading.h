// What happens when a program loads the checkpoint: which modules it builds in another form than
// the file has, and whether it notices. Names and headers only; no tensor data.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "verify/consumer.h"
#include "verify/name_resolution.h"
#include "verify/subject.h"

namespace qround::verify {

struct Mismatch {
  std::string module;  // as the program names it
  int64_t file_bits = 0, config_bits = 0;
  bool loud = false;   // it stops; else it computes something else
  bool draft = false;  // of the MTP head: matters when it drafts
  std::string text;    // the message to expect, or what happens in silence
};

struct Loading {
  const Release* release = nullptr;
  std::string refusal;  // not empty: stops before any module, with this text
  std::vector<Mismatch> mismatches;
};

// What is known about a consumer: one Loading for each of its releases.
struct ConsumerLoading {
  const Consumer* consumer = nullptr;
  std::vector<Loading> loadings;
};

// One for each release of the consumer.
std::vector<Loading> simulate_loading(const Subject& subject, const Consumer& consumer);

// A module as the newest release of a consumer would build it.
struct ModuleRow {
  std::string module;
  int64_t file_bits = 0;  // 0: not in the file
  Resolution resolution;
};
std::vector<ModuleRow> resolve_modules(const Subject& subject, const Consumer& consumer);

// Why the program refuses these values of quantization_config; empty: it does not.
std::string refusal_of_values(const Json& quantization_config, Reader reader,
                              const Release& release);

}  // namespace qround::verify
