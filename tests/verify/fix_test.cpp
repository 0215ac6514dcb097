// Damages of the configuration alone are mended; those of weights are not.
#include "verify/fix.h"

#include "tests/verify/damage_corpus.h"

namespace qround::verify {
namespace {

// Damages that no configuration mends, or that lie in config.json's description of the network.
const std::set<std::string> kBeyond = {"opens",     "architecture", "shard-names",
                                       "text-only", "model-dtype",  "mtp-config"};

TEST_F(DamageCorpus, FixMendsConfigurations) {
  size_t n_mended = 0;
  for (const char* group : {"files", "config", "names"}) {
    for (const Damage& row : corpus().at(group)) {
      if (std::any_of(row.rules.begin(), row.rules.end(),
                      [](const std::string& rule) { return kBeyond.contains(rule); }))
        continue;
      const fs::path broken = good(Base::pocket).parent_path() / "broken";
      const fs::path mended = good(Base::pocket).parent_path() / "mended";
      DamagedCheckpoint damaged(good(row.base), broken);
      row.apply(damaged);
      fs::remove_all(mended);
      write_fixed(broken, mended, Shards::linked);
      Progress silent;
      const Outcome outcome = run({.directory = mended, .threads = {2}}, silent);
      EXPECT_EQ(broken_rules(outcome), std::set<std::string>{})
          << row.name << all_findings(outcome);
      ++n_mended;
    }
  }
  EXPECT_GT(n_mended, 40u);
}

TEST_F(DamageCorpus, FixLeavesWeightsAndTheDirectoryAlone) {
  const fs::path in = good(Base::pocket), out = in.parent_path() / "out";
  EXPECT_FALSE(error_of([&] { write_fixed(in, in / "inside", Shards::linked); }).message().empty());
  EXPECT_FALSE(error_of([&] { write_fixed(in, in, Shards::linked); }).message().empty());
  DamagedCheckpoint damaged(in, in.parent_path() / "broken");
  damaged.set_zeros(kExpert, 0);
  damaged.save_tensors();
  write_fixed(damaged.directory(), out, Shards::copied);
  Progress silent;
  EXPECT_EQ(broken_rules(run({.directory = out, .threads = {2}}, silent)),
            std::set<std::string>{"zeros"});
}

}  // namespace
}  // namespace qround::verify
