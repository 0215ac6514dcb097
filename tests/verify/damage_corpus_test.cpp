// The corpus as a whole, and damages of what the user asked for: numbers of GPUs.
#include "tests/verify/damage_corpus.h"

#include "verify/rules.h"

namespace qround::verify {
namespace {

const bool kAdded = add_damages(
    "parallel",
    {
        {"one GPU", {}, [](DamagedCheckpoint&) {}, true, {1}},
        {"two GPUs", {"tp-slow"}, [](DamagedCheckpoint&) {}, true, {1, 2}},
        {"two GPUs and int4 shared experts",
         {"tp-slow", "tp-groups"},
         [](DamagedCheckpoint&) {},
         true,
         {2},
         Base::shared_expert},
        {"four GPUs", {"tp-heads", "tp-groups", "tp-slow"}, [](DamagedCheckpoint&) {}, true, {4}},
        {"eight GPUs",
         {"tp-heads", "tp-groups", "tp-tiles", "tp-experts"},
         [](DamagedCheckpoint&) {},
         true,
         {8}},
    });

}  // namespace

TEST_F(DamageCorpus, OfShapesAmongGpus) { check("parallel"); }

TEST(Corpus, HasARowForEveryRule) {
  std::set<std::string> covered;
  size_t n_rows = 0;
  for (const auto& [group, rows] : corpus()) {
    for (const Damage& row : rows) {
      covered.insert(row.rules.begin(), row.rules.end());
      n_rows += !row.rules.empty();
    }
  }
  EXPECT_GE(n_rows, 40u);
  for (const Rule& rule : rules()) {
    if (rule.id == "exllama-zero-point") continue;  // needs another network: below
    EXPECT_TRUE(covered.contains(std::string(rule.id))) << rule.id;
  }
}

TEST(Corpus, ANetworkOfOddShapes) {
  const TestDirectory directory;
  const fs::path micro = fs::path(QROUND_SOURCE_DIR) / "tests/data/golden/micro/model";
  quant::JobSpec spec = quant::job_spec(micro, directory / "out");
  spec.policy.scheme.group_size = 32;
  quant::quantize(spec);
  Progress silent;
  const Outcome outcome = run({.directory = directory / "out", .threads = {2}}, silent);
  EXPECT_EQ(broken_rules(outcome), std::set<std::string>{"exllama-zero-point"})
      << all_findings(outcome);
}

TEST(Rules, HaveNamesOfTheirOwnAndSayWhatTheyMean) {
  std::set<std::string_view> ids;
  for (const Rule& rule : rules()) {
    EXPECT_TRUE(ids.insert(rule.id).second) << rule.id;
    for (const std::string_view text : {rule.text, rule.reason, rule.mend})
      EXPECT_GT(text.size(), 10u) << rule.id;
    EXPECT_FALSE(rule.applies_to.empty()) << rule.id;
    EXPECT_NE(rule.check, nullptr) << rule.id;
    EXPECT_EQ(find_rule(rule.id), &rule);
  }
}

TEST_F(DamageCorpus, WithoutASourceNothingIsCompared) {
  const Outcome outcome = outcome_of(
      {.name = "", .rules = {}, .apply = [](DamagedCheckpoint&) {}, .with_source = false});
  EXPECT_TRUE(outcome.passed());
  for (const RuleOutcome& rule : outcome.rules)
    EXPECT_EQ(rule.checked, find_rule(rule.rule)->needs == Needs::nothing) << rule.rule;
}

TEST_F(DamageCorpus, StopsWhenAskedTo) {
  const std::atomic<bool> stop = true;
  Progress silent;
  const Error error = error_of(
      [&] { run({.directory = good(Base::pocket), .threads = {1}, .stop = &stop}, silent); });
  EXPECT_EQ(error.kind(), ErrorKind::interrupted);
}

}  // namespace qround::verify
