// Checkpoints that auto-round 0.16.1 itself wrote (tests/data/golden/README.md): what the rules say
// of them is what is known of that program's exports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/golden/safetensors_golden.h"
#include "verify/verify.h"

namespace qround::verify {
namespace {

using Counts = std::map<std::string, int64_t>;

Counts findings_of(const std::string& directory) {
  const Checkpoint source = Checkpoint::open(source_path("models/pocket"));
  Progress silent;
  const Outcome outcome =
      run({.directory = source_path(directory), .source = &source, .threads = {2}}, silent);
  Counts counts;
  for (const RuleOutcome& rule : outcome.rules) {
    if (rule.findings.count() > 0) counts[rule.rule] = rule.findings.count();
  }
  return counts;
}

// It splits the MTP experts and writes a total size of 0. It names in_proj_a and in_proj_b of three
// layers, and gate_proj and up_proj of four shared experts, but not in_proj_ba and gate_up_proj.
// Codes, scales and kept weights are right.
TEST(VerifyForeign, FindsOnlyWarningsForAnExportByPlainRounding) {
  EXPECT_EQ(findings_of("tests/data/golden/autoround-rtn"),
            (Counts{{"fused-name", 7}, {"total-size", 1}}));
}

// Run in F32, it stores all 84 unquantized tensors of its main file as F32, and its two
// configuration files differ. Its keys for the four routers spell out a prefix that vLLM renames.
TEST(VerifyForeign, FindsTheKnownFlawsOfATunedExport) {
  EXPECT_EQ(findings_of("tests/data/golden/autoround-tuned"), (Counts{{"configs-equal", 1},
                                                                      {"expression-anchored", 4},
                                                                      {"kept-dtype", 84},
                                                                      {"total-size", 1}}));
}

TEST(VerifyForeign, SaysThatAnUnquantizedCheckpointIsNoneOfOurs) {
  const Counts counts = findings_of("models/pocket");
  EXPECT_TRUE(counts.contains("config-values"));
  EXPECT_FALSE(counts.contains("kept-identical"));
}

TEST(Outcome, BecomesJson) {
  Progress silent;
  const Json json = to_json(run({.directory = "/nowhere", .threads = {1}}, silent));
  EXPECT_FALSE(json.at("passed").as_bool());
  EXPECT_EQ(json.at("rules").as_array().front().at("rule").as_string(), "opens");
  EXPECT_EQ(json.at("rules").as_array().front().at("count").as_int(), 1);
  EXPECT_FALSE(json.at("consumers").as_array().empty());
  for (const Json& verdict : json.at("consumers").as_array())
    EXPECT_EQ(verdict.at("text").as_string().find('\n'), std::string::npos);
}

}  // namespace
}  // namespace qround::verify
