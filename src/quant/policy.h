// Which parameters of a network become int4, and why the others do not.
//
// The default is the list of the published checkpoint: all linear maps of the text blocks but the
// router, the shared expert with its gate, and in_proj_a / in_proj_b. Rules given by the user
// change it, later ones win.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/tensor_table.h"
#include "quant/scheme.h"

namespace qround::quant {

struct PolicyRule {
  enum class Action { keep, quantize };
  Action action = Action::keep;
  std::string pattern;  // quant/module_pattern.h

  friend bool operator==(const PolicyRule&, const PolicyRule&) = default;
};

struct Policy {
  Scheme scheme;
  std::vector<PolicyRule> rules;
};

// Parts that a checkpoint may lack as a whole.
struct StoredParts {
  bool mtp = false;
  bool visual = false;

  bool holds(Part part) const;
};

struct Decision {
  const Parameter* parameter = nullptr;  // of the table, which must outlive this
  bool int4 = false;
  std::string reason;  // one line for people: "norms are not quantized", "--keep '*.self_attn'"
};

// One decision for every parameter of the stored parts, in the table's order. Throws one Error that
// names up to ten problems:
//   - a pattern that matches nothing, or a --quantize pattern none of whose matches can be
//   quantized,
//   - inputs that the group size does not divide,
//   - maps that inference engines fuse (runtime_group) of which only some would be int4.
// Linear maps whose sides are no multiples of 32 stay as they are, as in auto-round, and so do the
// maps fused with them.
std::vector<Decision> decide(const TensorTable& table, StoredParts parts, const Policy& policy);

// Linear maps as transformers counts its nn.Linear: text blocks, lm_head and vision tower, but no
// routers, which are bare parameters there. The MTP head, which transformers does not build, apart.
struct LinearCounts {
  int64_t quantized = 0, total = 0;
  int64_t mtp_quantized = 0, mtp_total = 0;

  friend bool operator==(const LinearCounts&, const LinearCounts&) = default;
};

LinearCounts count_linears(const std::vector<Decision>& decisions);

}  // namespace qround::quant
