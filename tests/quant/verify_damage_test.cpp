// Every rule of verify finds the damage it is for: a good checkpoint, made here by a job, is
// damaged in one way, and the rule speaks up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "checkpoint/safetensors_layout.h"
#include "tests/quant/job_fixture.h"
#include "verify/rules.h"
#include "verify/verify.h"

namespace qround::quant {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kLayer = "model.language_model.layers.1.";
const std::string kExpert = kLayer + "mlp.experts.4.up_proj";

class VerifyDamage : public testing::Test {
 protected:
  VerifyDamage() {
    JobSpec spec = job_spec(pocket(), out_);
    quantize(spec);
  }

  verify::Outcome outcome(bool with_source = true) const {
    Progress silent;
    return verify::run(
        {.directory = out_, .source = with_source ? &source_ : nullptr, .threads = {2}}, silent);
  }

  // Rules with findings.
  static std::set<std::string> broken_rules(const verify::Outcome& outcome) {
    std::set<std::string> ids;
    for (const verify::RuleOutcome& rule : outcome.rules) {
      if (rule.findings.count() > 0) ids.insert(rule.rule);
    }
    return ids;
  }

  verify::Finding first_finding(const std::string& rule_id) const {
    for (const verify::RuleOutcome& rule : outcome().rules) {
      if (rule.rule == rule_id && rule.findings.count() > 0) return rule.findings.first().front();
    }
    ADD_FAILURE() << "rule " << rule_id << " found nothing";
    return {};
  }

  // Both configuration files, so that they stay equal.
  void change_config(const std::function<void(Json&)>& change) const {
    Json config = Json::parse_file(out_ / "config.json");
    Json quantization = config.at("quantization_config");
    change(quantization);
    config.set("quantization_config", quantization);
    write_file_atomically(out_ / "config.json", config.dump());
    write_file_atomically(out_ / "quantization_config.json", quantization.dump());
  }

  // Writes the only shard again, with some tensors left out, renamed or changed in type.
  void rewrite_shard(const std::function<bool(std::string& name, TensorView& view)>& keep) const {
    const fs::path shard = out_ / "model-00001-of-00001.safetensors";
    const fs::path changed = out_ / "changed";
    Json index = Json::parse_file(out_ / kIndexFileName);
    JsonObject weight_map;
    {
      const SafetensorsFile file(shard);
      std::vector<std::pair<std::string, TensorView>> tensors;
      uint64_t total = 0;
      for (const TensorEntry& entry : file.entries()) {
        std::string name = entry.name;
        TensorView view = file.view(entry);
        if (!keep(name, view)) continue;
        weight_map.set(name, shard.filename().string());
        total += view.bytes();
        tensors.emplace_back(name, view);
      }
      index.set("metadata", Json::object({{"total_size", total}}));
      write_safetensors(changed, tensors);
    }
    fs::rename(changed, shard);
    index.set("weight_map", std::move(weight_map));
    write_file_atomically(out_ / kIndexFileName, index.dump());
  }

  const TestDirectory directory_;
  const fs::path out_ = directory_ / "out";
  const Checkpoint source_ = Checkpoint::open(pocket());
};

TEST_F(VerifyDamage, FindsNothingInAGoodCheckpoint) {
  const verify::Outcome good = outcome();
  EXPECT_TRUE(good.passed());
  EXPECT_EQ(broken_rules(good), std::set<std::string>{});
  EXPECT_EQ(good.checked(), static_cast<int64_t>(verify::rules().size()) + 1);
}

TEST_F(VerifyDamage, SkipsRulesThatNeedAMissingSource) {
  const verify::Outcome good = outcome(false);
  EXPECT_TRUE(good.passed());
  for (const verify::RuleOutcome& rule : good.rules) {
    const bool needs_source = rule.rule == "kept-identical" || rule.rule == "rounding";
    EXPECT_EQ(rule.checked, !needs_source) << rule.rule;
  }
}

TEST_F(VerifyDamage, ADirectoryThatCannotBeOpened) {
  fs::remove(out_ / "model-00001-of-00001.safetensors");
  const verify::Outcome bad = outcome();
  EXPECT_FALSE(bad.passed());
  EXPECT_EQ(broken_rules(bad), std::set<std::string>{std::string(verify::kOpensRule)});
}

TEST_F(VerifyDamage, AWrongPackingFormat) {
  change_config([](Json& config) { config.set("packing_format", "auto_round:gptq"); });
  EXPECT_EQ(first_finding("config-values").actual, "auto_round:gptq");
}

TEST_F(VerifyDamage, AMissingQuantizationConfig) {
  Json config = Json::parse_file(out_ / "config.json");
  config.as_object().erase("quantization_config");
  write_file_atomically(out_ / "config.json", config.dump());
  EXPECT_EQ(first_finding("config-values").actual, "absent");
}

TEST_F(VerifyDamage, BlockNamesWithoutInt4Maps) {
  change_config([](Json& config) {
    config.set("block_name_to_quantize", "model.language_model.layers,mtp.layers");
  });
  EXPECT_EQ(first_finding("config-values").actual, "mtp.layers");
}

TEST_F(VerifyDamage, AnOverrideWithOddBits) {
  change_config([](Json& config) {
    config.as_object().find("extra_config")->set(".*mtp.*", Json::object({{"bits", 8}}));
  });
  EXPECT_EQ(first_finding("config-values").tensor, ".*mtp.*");
}

TEST_F(VerifyDamage, ConfigFilesThatDiffer) {
  directory_.write("out/quantization_config.json", R"({"bits": 4})");
  EXPECT_EQ(broken_rules(outcome()), std::set<std::string>{"configs-equal"});
}

TEST_F(VerifyDamage, AFileThatDescribesAnotherQuantization) {
  directory_.write("out/quantize_config.json", "{}");
  EXPECT_EQ(first_finding("configs-equal").tensor, "quantize_config.json");
}

TEST_F(VerifyDamage, AKeptMapThatTheConfigDoesNotName) {
  change_config([](Json& config) {
    config.as_object().find("extra_config")->as_object().erase(kLayer + "linear_attn.in_proj_a");
    config.as_object().find("extra_config")->as_object().erase(kLayer + "linear_attn.in_proj_ba");
  });
  EXPECT_EQ(first_finding("config-matches-tensors").tensor, kLayer + "linear_attn.in_proj_a");
}

TEST_F(VerifyDamage, ATensorThatTheIndexDoesNotList) {
  Json index = Json::parse_file(out_ / kIndexFileName);
  index.as_object().find("weight_map")->as_object().erase("lm_head.weight");
  write_file_atomically(out_ / kIndexFileName, index.dump());
  EXPECT_EQ(first_finding("index").tensor, "lm_head.weight");
}

TEST_F(VerifyDamage, AWrongTotalSizeIsAWarning) {
  Json index = Json::parse_file(out_ / kIndexFileName);
  index.set("metadata", Json::object({{"total_size", 0}}));
  write_file_atomically(out_ / kIndexFileName, index.dump());
  EXPECT_EQ(broken_rules(outcome()), std::set<std::string>{"index-details"});
  EXPECT_TRUE(outcome().passed());
}

TEST_F(VerifyDamage, AMissingExpert) {
  rewrite_shard([](std::string& name, TensorView&) { return !name.starts_with(kExpert); });
  EXPECT_EQ(first_finding("tensor-set").tensor, kExpert + ".weight");
}

TEST_F(VerifyDamage, MissingScales) {
  rewrite_shard([](std::string& name, TensorView&) { return name != kExpert + ".scales"; });
  EXPECT_EQ(first_finding("tensor-set").tensor, kExpert + ".scales");
}

TEST_F(VerifyDamage, ATensorNobodyKnows) {
  rewrite_shard([](std::string& name, TensorView&) {
    if (name == "mtp.norm.weight") name = "mtp.norm.weights";
    return true;
  });
  const verify::Outcome bad = outcome();
  EXPECT_TRUE(broken_rules(bad).contains("tensor-set"));
}

TEST_F(VerifyDamage, AWrongShape) {
  rewrite_shard([](std::string& name, TensorView& view) {
    if (name == kExpert + ".scales") view.shape = {view.shape[1], view.shape[0]};
    return true;
  });
  EXPECT_EQ(first_finding("dtypes-shapes").tensor, kExpert + ".scales");
}

TEST_F(VerifyDamage, AWrongDtypeOfAKeptTensor) {
  rewrite_shard([](std::string& name, TensorView& view) {
    if (name == "lm_head.weight") view.dtype = DType::f16;
    return true;
  });
  EXPECT_EQ(first_finding("dtypes-shapes").actual, "F16 [1408, 256]");
}

TEST_F(VerifyDamage, ZerosOfTheOtherConvention) {
  overwrite_tensor(out_, kExpert + ".qzeros", 4, "\x88\x88\x88\x88");
  const verify::Finding finding = first_finding("zeros");
  EXPECT_EQ(finding.tensor, kExpert + ".qzeros");
  EXPECT_EQ(finding.actual, "0x88888888");
}

TEST_F(VerifyDamage, AScaleOfZero) {
  overwrite_tensor(out_, kExpert + ".scales", 6, std::string_view("\0\0", 2));
  EXPECT_EQ(first_finding("scales").tensor, kExpert + ".scales");
  EXPECT_EQ(first_finding("rounding").tensor, kExpert);
}

TEST_F(VerifyDamage, AScaleThatIsNotANumber) {
  overwrite_tensor(out_, kExpert + ".scales", 0, {"\x00\x7E", 2});
  EXPECT_EQ(first_finding("scales").actual, "nan");
}

TEST_F(VerifyDamage, OneFlippedBitOfAKeptTensor) {
  const TensorView view = source_.view("model.language_model.embed_tokens.weight");
  const char flipped = static_cast<char>(static_cast<char>(view.data[1001]) ^ 1);
  overwrite_tensor(out_, "model.language_model.embed_tokens.weight", 1001, {&flipped, 1});
  EXPECT_EQ(broken_rules(outcome()), std::set<std::string>{"kept-identical"});
  EXPECT_THAT(first_finding("kept-identical").message, HasSubstr("byte 1001"));
}

TEST_F(VerifyDamage, OneChangedCode) {
  const Checkpoint out = Checkpoint::open(out_);
  const auto word = static_cast<uint32_t>(out.view(kExpert + ".qweight").as<int32_t>()[5]);
  const uint32_t code = word >> 8 & 0xFu;
  const uint32_t changed = (word & ~0xF00u) | ((code < 8 ? code + 2 : code - 2) << 8);
  overwrite_tensor(out_, kExpert + ".qweight", 20,
                   {reinterpret_cast<const char*>(&changed), sizeof changed});
  const verify::Finding finding = first_finding("rounding");
  EXPECT_EQ(finding.tensor, kExpert);
  EXPECT_THAT(finding.message, HasSubstr("[5, 2]"));
}

TEST_F(VerifyDamage, ExpertsInAnotherOrder) {
  const std::string other = kLayer + "mlp.experts.5.up_proj";
  rewrite_shard([&](std::string& name, TensorView&) {
    if (name.starts_with(kExpert)) {
      name = other + name.substr(kExpert.size());
    } else if (name.starts_with(other)) {
      name = kExpert + name.substr(other.size());
    }
    return true;
  });
  EXPECT_EQ(broken_rules(outcome()), std::set<std::string>{"rounding"});
}

TEST_F(VerifyDamage, StopsWhenAskedTo) {
  const std::atomic<bool> stop = true;
  Progress silent;
  const Error error = error_of([&] {
    verify::run({.directory = out_, .source = &source_, .threads = {1}, .stop = &stop}, silent);
  });
  EXPECT_EQ(error.kind(), ErrorKind::interrupted);
}

TEST(Rules, HaveNamesOfTheirOwnAndSayWhatTheyMean) {
  std::set<std::string_view> ids;
  for (const verify::Rule& rule : verify::rules()) {
    EXPECT_TRUE(ids.insert(rule.id).second) << rule.id;
    EXPECT_GT(rule.text.size(), 20u) << rule.id;
    EXPECT_FALSE(rule.applies_to.empty()) << rule.id;
    EXPECT_NE(rule.check, nullptr) << rule.id;
  }
}

}  // namespace
}  // namespace qround::quant
