#include "checkpoint/quantization_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/safetensors_layout.h"
#include "tests/checkpoint/test_directory.h"

namespace qround {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

const fs::path kData = fs::path(QROUND_SOURCE_DIR) / "tests/data/checkpoint";

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.as_object()) keys.push_back(key);
  return keys;
}

Error parse_error(const char* text) {
  return error_of([&] { parse_quantization_config(Json::parse(text)); });
}

TEST(QuantizationConfig, KeepsWhatAutoRoundWrote) {
  for (const char* file :
       {"autoround/quantization_config.json", "autoround_tuned/quantization_config.json"}) {
    const Json json = Json::parse_file(kData / file);
    const QuantizationConfig config = parse_quantization_config(json);
    EXPECT_EQ(to_json(config), json) << file;
    EXPECT_EQ(parse_quantization_config(to_json(config)), config) << file;
  }
  for (const char* file : {"autoround/config.json", "autoround_tuned/config.json"}) {
    const Json json = Json::parse_file(kData / file).at("quantization_config");
    EXPECT_EQ(to_json(parse_quantization_config(json)), json) << file;
  }
}

TEST(QuantizationConfig, ReadsTheFactsOfAnAutoRoundExport) {
  const QuantizationConfig config = parse_quantization_config(
      Json::parse_file(kData / "autoround_tuned/quantization_config.json"));
  EXPECT_EQ(config.quant_method, "auto-round");
  EXPECT_EQ(config.group_size, 128);
  EXPECT_EQ(config.sym, true);
  EXPECT_THAT(config.block_names, ElementsAre("model.language_model.layers"));
  EXPECT_FALSE(config.block_names_are_a_list);
  EXPECT_EQ(config.extra_config.front().pattern,
            "model.language_model.layers.0.linear_attn.in_proj_b");
  EXPECT_EQ(config.extra_config.front().bits(), 16);
  ASSERT_EQ(config.other.size(), 2u);
  EXPECT_EQ(config.other[1].first, "autoround_version");
}

TEST(QuantizationConfig, WritesKeysInAutoRoundsOrder) {
  QuantizationConfig config;
  config.other = {{"iters", 0}, {"autoround_version", "x"}};
  config.block_names = {"model.language_model.layers"};
  config.extra_config = {{"z", Json::object({{"bits", 16}, {"data_type", "fp"}})},
                         {"a", Json::object({{"bits", 16}})}};
  config.dynamic = Json::object({{"-:.*mtp.*", Json::object()}});
  const Json json = to_json(config);
  EXPECT_THAT(keys_of(json),
              ElementsAre("bits", "data_type", "group_size", "sym", "iters", "autoround_version",
                          "block_name_to_quantize", "quant_method", "packing_format",
                          "extra_config", "dynamic"));
  EXPECT_THAT(keys_of(json.at("extra_config")), ElementsAre("z", "a"));
  EXPECT_EQ(json.at("block_name_to_quantize"), Json("model.language_model.layers"));
  EXPECT_EQ(parse_quantization_config(json), config);
}

TEST(QuantizationConfig, KeepsBlockNamesAsStringOrList) {
  const char* list =
      R"({"quant_method": "auto-round", "bits": 4, "group_size": 32, "block_name_to_quantize": ["a.layers", "mtp.layers"]})";
  const QuantizationConfig config = parse_quantization_config(Json::parse(list));
  EXPECT_THAT(config.block_names, ElementsAre("a.layers", "mtp.layers"));
  EXPECT_EQ(to_json(config), Json::parse(list));
  const char* commas =
      R"({"quant_method": "auto-round", "bits": 4, "group_size": 32, "block_name_to_quantize": "a,b"})";
  EXPECT_THAT(parse_quantization_config(Json::parse(commas)).block_names, ElementsAre("a", "b"));
  EXPECT_EQ(to_json(parse_quantization_config(Json::parse(commas))), Json::parse(commas));
}

TEST(QuantizationConfig, ReadsAGptqTwin) {
  const char* text =
      R"({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": true, "desc_act": false,)"
      R"( "checkpoint_format": "gptq_v2", "lm_head": false, "dynamic": {"-:.*gate$": {}}, "meta": {"x": 1}})";
  const QuantizationConfig config = parse_quantization_config(Json::parse(text));
  EXPECT_EQ(config.desc_act, false);
  EXPECT_FALSE(config.packing_format.has_value());
  EXPECT_EQ(to_json(config), Json::parse(text));
  EXPECT_EQ(int4_format(config).zero_offset, 0);
  EXPECT_EQ(int4_format(config).group_size, -1);
}

TEST(QuantizationConfig, NamesTheKeyThatIsMissingOrWrong) {
  EXPECT_THAT(parse_error("[]").message(), HasSubstr("no object"));
  EXPECT_THAT(parse_error(R"({"bits": 4, "group_size": 128})").message(),
              HasSubstr("\"quant_method\""));
  EXPECT_THAT(parse_error(R"({"quant_method": "gptq", "group_size": 128})").message(),
              HasSubstr("\"bits\""));
  EXPECT_THAT(parse_error(R"({"quant_method": "gptq", "bits": "4", "group_size": 128})").message(),
              HasSubstr("\"bits\""));
  EXPECT_THAT(parse_error(R"({"quant_method": "gptq", "bits": 4, "group_size": 1, "sym": "yes"})")
                  .message(),
              HasSubstr("\"sym\""));
  EXPECT_THAT(
      parse_error(
          R"({"quant_method": "gptq", "bits": 4, "group_size": 1, "extra_config": {"a": 4}})")
          .message(),
      HasSubstr("\"extra_config\""));
  EXPECT_THAT(
      parse_error(
          R"({"quant_method": "gptq", "bits": 4, "group_size": 1, "extra_config": {"a": {"bits": "x"}}})")
          .message(),
      HasSubstr("\"extra_config\""));
  EXPECT_THAT(
      parse_error(
          R"({"quant_method": "gptq", "bits": 4, "group_size": 1, "block_name_to_quantize": [1]})")
          .message(),
      HasSubstr("\"block_name_to_quantize\""));
}

TEST(QuantizationConfig, KnowsHowEachPackingStoresZeros) {
  const auto offset = [](std::optional<std::string> packing) {
    return int4_format(QuantizationConfig{.packing_format = std::move(packing)}).zero_offset;
  };
  EXPECT_EQ(offset("auto_round:auto_gptq"), 1);
  EXPECT_EQ(offset("auto_round:gptq"), 1);
  EXPECT_EQ(offset(std::nullopt), 1);
  EXPECT_EQ(offset("auto_round"), 0);
  EXPECT_EQ(offset("auto_round:gptqmodel"), 0);
  EXPECT_THAT(error_of([&] { offset("auto_round:auto_awq"); }).actual(), HasSubstr("auto_awq"));
  EXPECT_THAT(error_of([] { int4_format({.bits = 8}); }).actual(), HasSubstr("8 bits"));
  EXPECT_THAT(error_of([] { int4_format({.quant_method = "awq"}); }).actual(), HasSubstr("awq"));
  EXPECT_EQ(int4_format({.quant_method = "gptq"}).zero_offset, 1);
}

class QuantizationConfigFiles : public testing::Test {
 protected:
  Checkpoint checkpoint(std::string_view config_json) const {
    directory_.write("config.json", config_json);
    const uint8_t byte = 0;
    write_safetensors(directory_ / "model.safetensors",
                      {{"a", {DType::u8, {1}, reinterpret_cast<const std::byte*>(&byte)}}});
    return Checkpoint::open(directory_.path());
  }
  TestDirectory directory_;
};

TEST_F(QuantizationConfigFiles, AreReadWhereOtherReadersLook) {
  constexpr std::string_view kObject =
      R"({"quant_method": "auto-round", "bits": 4, "group_size": )";
  EXPECT_FALSE(read_quantization_config(checkpoint("{}")).has_value());
  directory_.write("quantization_config.json", std::string(kObject) + "32}");
  EXPECT_EQ(read_quantization_config(checkpoint("{}"))->group_size, 32);
  const std::string nested = R"({"quantization_config": )" + std::string(kObject) + "64}}";
  EXPECT_EQ(read_quantization_config(checkpoint(R"({"text_config": )" + nested + "}"))->group_size,
            64);
  EXPECT_EQ(read_quantization_config(checkpoint(nested))->group_size, 64);
  const Checkpoint broken = checkpoint(R"({"quantization_config": {"bits": 4}})");
  EXPECT_THAT(error_of([&] { read_quantization_config(broken); }).file(), HasSubstr("config.json"));
}

TEST_F(QuantizationConfigFiles, AreWrittenFromOneObjectKeepingEverythingElse) {
  const Json source =
      Json::parse(R"({"z": 1e-06, "architectures": ["A"], "a": {"y": true, "b": null}})");
  const QuantizationConfig config{.block_names = {"model.layers"}};
  write_config_files(directory_.path(), source, config);
  const Json written = Json::parse_file(directory_ / "config.json");
  EXPECT_THAT(keys_of(written), ElementsAre("z", "architectures", "a", "quantization_config"));
  EXPECT_THAT(keys_of(written.at("a")), ElementsAre("y", "b"));
  EXPECT_EQ(written.at("quantization_config"), to_json(config));
  EXPECT_EQ(read_file(directory_ / "quantization_config.json"),
            to_json(config).dump({.indent = 2}) + "\n");
  EXPECT_THAT(read_file(directory_ / "config.json"), HasSubstr("  \"z\": 1e-06,\n"));
}

}  // namespace
}  // namespace qround
