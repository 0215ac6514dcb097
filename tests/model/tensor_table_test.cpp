#include "model/tensor_table.h"

#include <gtest/gtest.h>

#include "tests/model/qwen36_config.h"

namespace qround {
namespace {

class Qwen36Table : public testing::Test {
 protected:
  ModelConfig config = parse_model_config(qwen36_35b_config(), "config.json");
  TensorTable table = TensorTable::of(config);
};

// 1,045 tensors and 71,903,645,408 bytes of BF16 are the published checkpoint's own figures.
TEST_F(Qwen36Table, AddsUpToThePublishedCheckpoint) {
  int64_t tensors = static_cast<int64_t>(table.fused_tensors().size()), weights = 0;
  for (const Parameter& parameter : table.parameters()) {
    weights += element_count(parameter.shape);
    tensors += parameter.fused_tensor.empty() ? 1 : 0;
  }
  EXPECT_EQ(tensors, 1045);
  EXPECT_EQ(2 * weights, 71'903'645'408);
}

TEST_F(Qwen36Table, FusedTensorsHoldExactlyTheirExperts) {
  int64_t fused = 0, split = 0;
  for (const FusedTensor& tensor : table.fused_tensors()) fused += element_count(tensor.shape);
  for (const Parameter& parameter : table.parameters()) {
    if (!parameter.fused_tensor.empty()) split += element_count(parameter.shape);
  }
  EXPECT_EQ(fused, split);
}

TEST_F(Qwen36Table, CountsTheLinearMapsOfEachPart) {
  int64_t text = 0, routers = 0, visual = 0;
  for (const Parameter& parameter : table.parameters()) {
    if (!is_linear(parameter.role)) continue;
    text += parameter.part == Part::text && parameter.role != Role::router ? 1 : 0;
    routers += parameter.part == Part::text && parameter.role == Role::router ? 1 : 0;
    visual += parameter.part == Part::visual ? 1 : 0;
  }
  EXPECT_EQ(text + visual, 31'181);
  EXPECT_EQ(routers, 40);
  EXPECT_EQ(visual, 110);
}

TEST_F(Qwen36Table, KnowsShapesByRole) {
  EXPECT_EQ(table.find(Part::text, 3, Role::q_proj)->shape, (Shape{8192, 2048}));
  EXPECT_EQ(table.find(Part::text, 0, Role::in_proj_qkv)->shape, (Shape{8192, 2048}));
  EXPECT_EQ(table.find(Part::text, 0, Role::q_proj), nullptr);
  EXPECT_EQ(table.find(Part::mtp, -1, Role::mtp_fc)->shape, (Shape{2048, 4096}));
  const Parameter& up = *table.find(Part::text, 7, Role::expert_up, 255);
  EXPECT_EQ(up.module, "model.language_model.layers.7.mlp.experts.255.up_proj");
  EXPECT_EQ(up.fused_tensor, "model.language_model.layers.7.mlp.experts.gate_up_proj");
  EXPECT_EQ(up.fused_row, 512);
}

TEST_F(Qwen36Table, FindsParametersByModuleAndTensor) {
  const Parameter* a = table.find_tensor("model.language_model.layers.0.linear_attn.A_log");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->role, Role::a_log);
  EXPECT_EQ(table.find_module("lm_head")->role, Role::lm_head);
  EXPECT_EQ(table.find_module("nothing"), nullptr);
}

TEST(DenseTable, NamesTheFeedForwardOfTheDenseSibling) {
  Json config = qwen36_35b_config();
  config.set("architectures", Json::array({"Qwen3_5ForConditionalGeneration"}));
  Json text = config.at("text_config");
  text.set("intermediate_size", 5504);
  config.set("text_config", text);
  const TensorTable table = TensorTable::of(parse_model_config(config, "config.json"));
  EXPECT_TRUE(table.fused_tensors().empty());
  EXPECT_EQ(table.find(Part::text, 0, Role::dense_gate)->tensor,
            "model.language_model.layers.0.mlp.gate_proj.weight");
  EXPECT_EQ(table.find(Part::mtp, 0, Role::dense_down)->shape, (Shape{2048, 5504}));
}

}  // namespace
}  // namespace qround
