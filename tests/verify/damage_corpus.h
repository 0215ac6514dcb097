// The corpus of damaged checkpoints: every row damages a good one in one way and names all rules
// that have to speak up.
#pragma once

#include "tests/verify/damaged_checkpoint.h"

namespace qround::verify {

enum class Base {
  pocket,         // models/pocket, rounded plainly
  shared_expert,  // the same with int4 shared experts
};

struct Damage {
  const char* name;
  std::set<std::string> rules;
  std::function<void(DamagedCheckpoint&)> apply;
  bool with_source = true;
  std::vector<int64_t> tps = {};
  Base base = Base::pocket;
};

// All rows, by the test that checks them.
inline std::map<std::string, std::vector<Damage>>& corpus() {
  static std::map<std::string, std::vector<Damage>> rows;
  return rows;
}

inline bool add_damages(const std::string& group, std::vector<Damage> rows) {
  return corpus().emplace(group, std::move(rows)).second;
}

inline const std::string kText = "model.language_model.layers.";
inline const std::string kLayer = kText + "1.";                       // linear attention
inline const std::string kAttention = kText + "3.self_attn.";         // full attention
inline const std::string kExpert = kLayer + "mlp.experts.4.up_proj";  // [128, 256]
inline const std::string kSquare = kAttention + "o_proj";             // [256, 256]

class DamageCorpus : public testing::Test {
 protected:
  const fs::path& good(Base base) {
    fs::path& path = good_[base];
    if (!path.empty()) return path;
    path = directory_ / (base == Base::pocket ? "pocket" : "shared_expert");
    quant::JobSpec spec = quant::job_spec(quant::pocket(), path);
    if (base == Base::shared_expert)
      spec.policy.rules = {{quant::PolicyRule::Action::quantize, "model.*.shared_expert.*"}};
    quant::quantize(spec);
    return path;
  }

  Outcome outcome_of(const Damage& row) {
    DamagedCheckpoint damaged(good(row.base), directory_ / "damaged");
    row.apply(damaged);
    Progress silent;
    return run({.directory = damaged.directory(),
                .source = row.with_source ? &source_ : nullptr,
                .tps = row.tps,
                .threads = {2}},
               silent);
  }

  void check(const std::string& group) {
    for (const Damage& row : corpus().at(group)) {
      const Outcome outcome = outcome_of(row);
      EXPECT_EQ(broken_rules(outcome), row.rules) << row.name << "\n" << all_findings(outcome);
    }
  }

 private:
  const TestDirectory directory_;
  const Checkpoint source_ = Checkpoint::open(quant::pocket());
  std::map<Base, fs::path> good_;
};

}  // namespace qround::verify
