#include "model/model_config.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/model/qwen36_config.h"

namespace qround {
namespace {

ModelConfig parse_with(const char* section, const char* key, Json value) {
  Json config = qwen36_35b_config();
  if (*section == '\0') {
    config.set(key, std::move(value));
  } else {
    Json part = config.at(section);
    part.set(key, std::move(value));
    config.set(section, std::move(part));
  }
  return parse_model_config(config, "some/config.json");
}

TEST(ModelConfig, DerivesLayersAndRotaryWidth) {
  const ModelConfig config = parse_model_config(qwen36_35b_config(), "config.json");
  ASSERT_EQ(config.mixers.size(), 40u);
  EXPECT_EQ(config.mixers[2], MixerKind::delta_net);
  EXPECT_EQ(config.mixers[39], MixerKind::attention);
  EXPECT_EQ(config.attention.rotary_dim, 64);
  EXPECT_EQ(config.delta_net.conv_channels(), 8192);
}

TEST(ModelConfig, RefusesAnUnknownArchitectureAndListsTheKnown) {
  try {
    parse_with("", "architectures", Json::array({"LlamaForCausalLM"}));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.file(), "some/config.json");
    EXPECT_EQ(error.actual(), "LlamaForCausalLM");
    EXPECT_NE(error.expected().find("Qwen3_5MoeForConditionalGeneration"), std::string::npos);
  }
}

TEST(ModelConfig, NamesTheKeyOfABadValue) {
  const auto message = [](const char* section, const char* key, Json value) -> std::string {
    try {
      parse_with(section, key, std::move(value));
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_EQ(message("text_config", "hidden_size", "big"),
            "bad value of \"text_config.hidden_size\"");
  EXPECT_EQ(message("text_config", "hidden_size", -5), "bad value of \"text_config.hidden_size\"");
  EXPECT_EQ(message("text_config", "num_key_value_heads", 3),
            "bad value of \"text_config.num_key_value_heads\"");
  EXPECT_EQ(message("text_config", "num_experts_per_tok", 300),
            "bad value of \"text_config.num_experts_per_tok\"");
  EXPECT_EQ(message("text_config", "attention_bias", true),
            "bad value of \"text_config.attention_bias\"");
  EXPECT_EQ(message("text_config", "layer_types", Json::array({"full_attention"})),
            "bad value of \"text_config.layer_types\"");
  EXPECT_EQ(message("text_config", "rms_norm_eps", 0), "bad value of \"text_config.rms_norm_eps\"");
  EXPECT_EQ(message("", "text_config", 1), "\"text_config\" is not an object");
}

TEST(ModelConfig, RefusesLongContextRopeItDoesNotCompute) {
  EXPECT_THROW(parse_with("text_config", "rope_parameters",
                          Json::parse(R"({"rope_type": "yarn", "rope_theta": 1e7, "factor": 4})")),
               Error);
}

}  // namespace
}  // namespace qround
