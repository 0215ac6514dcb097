#include "quant/policy.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/error.h"
#include "model/model_config.h"
#include "quant/module_pattern.h"
#include "tests/model/qwen36_config.h"

namespace qround::quant {
namespace {

using Action = PolicyRule::Action;

TEST(ModulePattern, StarsCrossDots) {
  EXPECT_TRUE(matches_module("mtp.layers.*", "mtp.layers.0.mlp.experts.3.gate_proj"));
  EXPECT_TRUE(matches_module("*.experts.*.down_proj", "model.layers.1.mlp.experts.12.down_proj"));
  EXPECT_FALSE(matches_module("*.experts.*.down_proj", "model.layers.1.mlp.shared.down_proj"));
  EXPECT_TRUE(matches_module("*a*b*c", "xaybaabzc"));
  EXPECT_FALSE(matches_module("*a*b*c", "xaybaabz"));
}

TEST(ModulePattern, QuestionMarksStandForOneCharacter) {
  EXPECT_TRUE(matches_module("lm_?ead", "lm_head"));
  EXPECT_FALSE(matches_module("lm_?head", "lm_head"));
}

TEST(ModulePattern, NamesOfModulesMeanWhatLiesBelow) {
  EXPECT_TRUE(matches_module("model.layers.3", "model.layers.3.mlp.gate"));
  EXPECT_TRUE(matches_module("model.layers.3", "model.layers.3"));
  EXPECT_FALSE(matches_module("model.layers.3", "model.layers.31.mlp.gate"));
  EXPECT_TRUE(matches_module("*.mlp", "model.layers.31.mlp.gate"));
  EXPECT_FALSE(matches_module("", "model"));
}

class PolicyOf35b : public testing::Test {
 protected:
  std::vector<Decision> decide_with(std::vector<PolicyRule> rules, int64_t group_size = 128) {
    return decide(table_, {.mtp = true, .visual = true},
                  {.scheme = {.group_size = group_size}, .rules = std::move(rules)});
  }
  static const Decision& of(const std::vector<Decision>& decisions, const std::string& module) {
    for (const Decision& decision : decisions) {
      if (decision.parameter->module == module) return decision;
    }
    ADD_FAILURE() << "no module " << module;
    return decisions.front();
  }
  static Error error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "no Error was thrown";
    return Error("none");
  }

  const std::string layer0_ = "model.language_model.layers.0.";
  const std::string layer3_ = "model.language_model.layers.3.";
  TensorTable table_ = TensorTable::of(parse_model_config(qwen36_35b_config(), "config.json"));
};

TEST_F(PolicyOf35b, CountsAsThePublishedCheckpoint) {
  const LinearCounts counts = count_linears(decide_with({}));
  EXPECT_EQ(counts.quantized, 30850);
  EXPECT_EQ(counts.total, 31181);
  EXPECT_EQ(counts.mtp_quantized, 0);
  EXPECT_EQ(counts.mtp_total, 256 * 3 + 4 + 3 + 1 + 1);
}

TEST_F(PolicyOf35b, KeepsWhatThePublishedCheckpointKeeps) {
  const auto decisions = decide_with({});
  for (const char* kept :
       {"mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj",
        "mlp.shared_expert_gate", "mlp.gate", "linear_attn.in_proj_a", "linear_attn.in_proj_b",
        "linear_attn.conv1d", "input_layernorm"}) {
    EXPECT_FALSE(of(decisions, layer0_ + kept).int4) << kept;
    EXPECT_FALSE(of(decisions, layer0_ + kept).reason.empty()) << kept;
  }
  for (const char* int4 : {"mlp.experts.255.gate_proj", "linear_attn.in_proj_qkv",
                           "linear_attn.in_proj_z", "linear_attn.out_proj"}) {
    EXPECT_TRUE(of(decisions, layer0_ + int4).int4) << int4;
  }
  EXPECT_TRUE(of(decisions, layer3_ + "self_attn.k_proj").int4);
  EXPECT_FALSE(of(decisions, "lm_head").int4);
  EXPECT_FALSE(of(decisions, "model.visual.blocks.0.attn.qkv").int4);
  EXPECT_FALSE(of(decisions, "mtp.layers.0.self_attn.q_proj").int4);
}

TEST_F(PolicyOf35b, LaterRulesWin) {
  const auto decisions = decide_with({{Action::keep, "*.self_attn"},
                                      {Action::quantize, layer3_ + "self_attn"},
                                      {Action::quantize, "*.shared_expert"}});
  EXPECT_TRUE(of(decisions, layer3_ + "self_attn.q_proj").int4);
  EXPECT_FALSE(of(decisions, "model.language_model.layers.7.self_attn.q_proj").int4);
  EXPECT_EQ(of(decisions, "model.language_model.layers.7.self_attn.q_proj").reason,
            "--keep '*.self_attn'");
  EXPECT_TRUE(of(decisions, layer0_ + "mlp.shared_expert.down_proj").int4);
}

TEST_F(PolicyOf35b, QuantizesTheMtpLayerButNotItsRouterNormsAndFc) {
  const auto decisions = decide_with({{Action::quantize, "mtp.layers.*"}});
  EXPECT_TRUE(of(decisions, "mtp.layers.0.self_attn.q_proj").int4);
  EXPECT_TRUE(of(decisions, "mtp.layers.0.mlp.experts.0.up_proj").int4);
  EXPECT_FALSE(of(decisions, "mtp.layers.0.mlp.gate").int4);
  EXPECT_FALSE(of(decisions, "mtp.layers.0.input_layernorm").int4);
  EXPECT_FALSE(of(decisions, "mtp.fc").int4);
  EXPECT_EQ(count_linears(decisions).mtp_quantized, 256 * 3 + 4 + 3);
}

TEST_F(PolicyOf35b, RefusesAPatternThatMatchesNothing) {
  const Error error = error_of([&] { decide_with({{Action::keep, "*.self_atn.*"}}); });
  EXPECT_NE(error.actual().find("--keep '*.self_atn.*'"), std::string::npos);
}

TEST_F(PolicyOf35b, RefusesToQuantizeWhatCannotBeByName) {
  for (const char* pattern :
       {"*.mlp.gate", "*norm*", "model.language_model.embed_tokens", "lm_head", "model.visual",
        "mtp.fc", "*.shared_expert_gate", "*.conv1d", "*.A_log"}) {
    const Error error = error_of([&] { decide_with({{Action::quantize, pattern}}); });
    EXPECT_FALSE(error.tensor().empty()) << pattern;
    EXPECT_NE(error.actual().find(pattern), std::string::npos) << error.what();
  }
}

TEST_F(PolicyOf35b, RefusesToSplitMapsThatEnginesFuse) {
  const Error qkv = error_of([&] { decide_with({{Action::keep, layer3_ + "self_attn.q_proj"}}); });
  EXPECT_EQ(qkv.tensor(), layer3_ + "self_attn.qkv_proj");
  const Error expert = error_of([&] { decide_with({{Action::keep, "*.experts.17"}}); });
  EXPECT_NE(std::string(expert.what()).find("mlp.experts"), std::string::npos);
  EXPECT_NO_THROW(decide_with({{Action::keep, layer3_ + "mlp.experts"}}));
}

TEST_F(PolicyOf35b, RefusesGroupSizesThatReadersLack) {
  EXPECT_EQ(error_of([&] { decide_with({}, 48); }).actual(), "48");
}

Json config_with(const char* key, int64_t value) {
  Json config = qwen36_35b_config();
  config.as_object().find("text_config")->set(key, value);
  return config;
}

TEST(Policy, RefusesInputsThatTheGroupSizeDoesNotDivide) {
  const TensorTable table =
      TensorTable::of(parse_model_config(config_with("moe_intermediate_size", 96), "config.json"));
  try {
    decide(table, {}, {});
    FAIL() << "no Error was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("experts.0.down_proj"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("96 inputs"), std::string::npos);
  }
  EXPECT_NO_THROW(decide(table, {}, {.scheme = {.group_size = 32}, .rules = {}}));
}

TEST(Policy, KeepsMapsWithSidesThatAreNoMultipleOf32AndWhatIsFusedWithThem) {
  const TensorTable table =
      TensorTable::of(parse_model_config(config_with("moe_intermediate_size", 80), "config.json"));
  const auto decisions = decide(table, {}, {});
  const LinearCounts counts = count_linears(decisions);
  EXPECT_EQ(counts.quantized, 30 * 3 + 10 * 4) << "no experts";
  for (const Decision& decision : decisions) {
    if (decision.parameter->role == Role::expert_down) {
      EXPECT_NE(decision.reason.find("multiple of 32"), std::string::npos) << decision.reason;
    }
  }
}

TEST(Policy, DecidesOnlyAboutStoredParts) {
  const TensorTable table = TensorTable::of(parse_model_config(qwen36_35b_config(), "config.json"));
  for (const Decision& decision : decide(table, {}, {}))
    EXPECT_EQ(decision.parameter->part, Part::text);
}

}  // namespace
}  // namespace qround::quant
