#include "quant/policy.h"

#include <fmt/format.h>

#include <map>

#include "base/error.h"
#include "base/problem_list.h"
#include "quant/module_pattern.h"

namespace qround::quant {
namespace {

constexpr int64_t kSideMultiple = 32;  // kernels of the format need it of both sides

// Why no rule can make the parameter int4; empty: one can.
std::string never_because(const Parameter& p) {
  switch (p.role) {
    case Role::router:
      return "the router is not quantized";
    case Role::shared_expert_gate:
      return "the shared expert's gate has a single output";
    case Role::mtp_fc:
      return "mtp.fc is not quantized: engines read it in 16 bits";
    case Role::lm_head:
      return "the output head is not quantized";
    case Role::visual_linear:
    case Role::visual_other:
      return "the vision tower is not quantized";
    case Role::embedding:
      return "embeddings are not quantized";
    case Role::conv1d:
      return "convolutions are not quantized";
    case Role::a_log:
    case Role::dt_bias:
      return "parameters of the recurrence are not quantized";
    case Role::final_norm:
    case Role::input_norm:
    case Role::post_attention_norm:
    case Role::q_norm:
    case Role::k_norm:
    case Role::delta_net_norm:
    case Role::mtp_embedding_norm:
    case Role::mtp_hidden_norm:
      return "norms are not quantized";
    case Role::q_proj:
    case Role::k_proj:
    case Role::v_proj:
    case Role::o_proj:
    case Role::in_proj_qkv:
    case Role::in_proj_z:
    case Role::in_proj_b:
    case Role::in_proj_a:
    case Role::out_proj:
    case Role::expert_gate:
    case Role::expert_up:
    case Role::expert_down:
    case Role::shared_gate:
    case Role::shared_up:
    case Role::shared_down:
    case Role::dense_gate:
    case Role::dense_up:
    case Role::dense_down:
      return "";
  }
  return "";
}

std::string shape_because(const Parameter& p) {
  if (p.shape[0] % kSideMultiple == 0 && p.shape[1] % kSideMultiple == 0) return "";
  return fmt::format("a side of {} is no multiple of {}", shape_text(p.shape), kSideMultiple);
}

// The published checkpoint's choice among the maps that could be int4.
Decision default_decision(const Parameter& p) {
  const auto keep = [&](const char* reason) { return Decision{&p, false, reason}; };
  if (p.part == Part::mtp) return keep("the MTP head is kept by default");
  switch (p.role) {
    case Role::shared_gate:
    case Role::shared_up:
    case Role::shared_down:
      return keep("the shared expert is kept by default");
    case Role::in_proj_a:
    case Role::in_proj_b:
      return keep("in_proj_a and in_proj_b are kept by default");
    default:
      return {&p, true, "linear maps of text blocks are quantized"};
  }
}

std::string rule_text(const PolicyRule& rule) {
  const bool keep = rule.action == PolicyRule::Action::keep;
  return fmt::format("--{} '{}'", keep ? "keep" : "quantize", rule.pattern);
}

// Who decides about a parameter.
enum class Freedom {
  open,   // rules
  unfit,  // its shape: kept, although its role could be int4
  never,  // its role: kept
};

class Decider {
 public:
  Decider(const TensorTable& table, StoredParts parts, const Policy& policy) : policy_(policy) {
    for (const Parameter& parameter : table.parameters()) {
      if (parts.holds(parameter.part)) add(parameter);
    }
  }

  std::vector<Decision> decide() {
    check_scheme(policy_.scheme);
    for (const PolicyRule& rule : policy_.rules) apply(rule);
    keep_groups_of_unfit_maps();
    check_groups();
    check_inputs();
    problems_.throw_if_any("the choice of what to quantize cannot be carried out");
    return std::move(decisions_);
  }

 private:
  void add(const Parameter& p) {
    if (std::string reason = never_because(p); !reason.empty()) {
      freedom_.push_back(Freedom::never);
      decisions_.push_back({&p, false, std::move(reason)});
    } else if (reason = shape_because(p); !reason.empty()) {
      freedom_.push_back(Freedom::unfit);
      decisions_.push_back({&p, false, std::move(reason)});
    } else {
      freedom_.push_back(Freedom::open);
      decisions_.push_back(default_decision(p));
    }
  }

  void apply(const PolicyRule& rule) {
    const bool quantize = rule.action == PolicyRule::Action::quantize;
    const Decision* refused = nullptr;
    size_t n_matches = 0, n_decided = 0;
    for (size_t i = 0; i < decisions_.size(); ++i) {
      Decision& decision = decisions_[i];
      if (!matches_module(rule.pattern, decision.parameter->module)) continue;
      ++n_matches;
      if (freedom_[i] != Freedom::open) {
        if (refused == nullptr) refused = &decision;
        continue;
      }
      ++n_decided;
      decision.int4 = quantize;
      decision.reason = rule_text(rule);
    }
    if (n_matches == 0) {
      problems_.add(Error("a pattern matches no module of the network")
                        .actual(rule_text(rule))
                        .hint(fmt::format("patterns match module paths such as '{}'; * stands for "
                                          "any characters",
                                          decisions_.back().parameter->module)));
    } else if (quantize && n_decided == 0) {
      problems_.add(Error("a pattern asks for a module that cannot be quantized")
                        .tensor(refused->parameter->module)
                        .actual(rule_text(rule) + ": " + refused->reason));
    }
  }

  void keep_groups_of_unfit_maps() {
    std::map<std::string_view, const Parameter*> unfit_in_group;
    for (size_t i = 0; i < decisions_.size(); ++i) {
      const Parameter& p = *decisions_[i].parameter;
      if (freedom_[i] == Freedom::unfit && !p.runtime_group.empty())
        unfit_in_group.emplace(p.runtime_group, &p);
    }
    for (Decision& decision : decisions_) {
      const auto found = unfit_in_group.find(decision.parameter->runtime_group);
      if (!decision.int4 || found == unfit_in_group.end()) continue;
      decision.int4 = false;
      decision.reason = fmt::format("engines fuse it with {}: {}", role_name(found->second->role),
                                    shape_because(*found->second));
    }
  }

  void check_groups() {
    struct Members {
      const Parameter* int4 = nullptr;
      const Parameter* kept = nullptr;
    };
    std::map<std::string_view, Members> groups;
    for (const Decision& decision : decisions_) {
      const Parameter& p = *decision.parameter;
      if (p.runtime_group.empty()) continue;
      Members& members = groups[p.runtime_group];
      (decision.int4 ? members.int4 : members.kept) = &p;
    }
    for (const auto& [group, members] : groups) {
      if (members.int4 == nullptr || members.kept == nullptr) continue;
      problems_.add(
          Error("only some of the maps that inference engines fuse would be int4")
              .tensor(group)
              .expected("all of them int4 or none")
              .actual(fmt::format("int4: {}, kept: {}", members.int4->module, members.kept->module))
              .hint("give a pattern that covers the whole group"));
    }
  }

  void check_inputs() {
    const int64_t group_size = policy_.scheme.group_size;
    for (const Decision& decision : decisions_) {
      const Parameter& p = *decision.parameter;
      if (!decision.int4 || p.shape[1] % group_size == 0) continue;
      problems_.add(Error("the group size does not divide the inputs of a linear map")
                        .tensor(p.module)
                        .expected(fmt::format("a multiple of {}", group_size))
                        .actual(fmt::format("{} inputs", p.shape[1]))
                        .hint("choose another group size, or keep the map with --keep"));
    }
  }

  const Policy& policy_;
  std::vector<Decision> decisions_;
  std::vector<Freedom> freedom_;  // parallel to decisions_
  ProblemList problems_;
};

}  // namespace

bool StoredParts::holds(Part part) const {
  switch (part) {
    case Part::text:
      return true;
    case Part::mtp:
      return mtp;
    case Part::visual:
      return visual;
  }
  return false;
}

std::vector<Decision> decide(const TensorTable& table, StoredParts parts, const Policy& policy) {
  return Decider(table, parts, policy).decide();
}

LinearCounts count_linears(const std::vector<Decision>& decisions) {
  LinearCounts counts;
  for (const Decision& decision : decisions) {
    const Parameter& p = *decision.parameter;
    if (!is_linear(p.role) || p.role == Role::router) continue;
    const bool mtp = p.part == Part::mtp;
    ++(mtp ? counts.mtp_total : counts.total);
    if (decision.int4) ++(mtp ? counts.mtp_quantized : counts.quantized);
  }
  return counts;
}

}  // namespace qround::quant
