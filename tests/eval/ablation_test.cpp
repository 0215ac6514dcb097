#include "eval/ablation.h"

#include "eval/side_by_side.h"
#include "eval/text_data.h"
#include "tests/eval/pocket_lanes.h"

namespace qround::eval {
namespace {

// The int4 export differs from its source in its int4 maps alone, so with all of them put back
// nothing is left of the difference.
TEST(Ablation, AllClassesPutBackGiveTheSource) {
  const auto source = pocket_model("models/pocket");
  const auto result = pocket_model("tests/data/golden/autoround-rtn");
  Lane whole{.name = "whole", .model = result, .donor = source, .drafts = false};
  for (const Lane& lane : ablation_lanes(result, source))
    whole.donated.insert(lane.donated.begin(), lane.donated.end());
  EXPECT_EQ(whole.donated.size(), 10u);
  const auto scores = run_side_by_side({{.name = "source", .model = source, .drafts = false},
                                        whole,
                                        {.name = "result", .model = result, .drafts = false}},
                                       pocket_text(1), {.threads = Threads::all()});
  for (const double divergence : scores[1].divergence) EXPECT_EQ(divergence, 0);
  double largest = 0;
  for (const double divergence : scores[2].divergence) largest = std::max(largest, divergence);
  EXPECT_GT(largest, 1e-6);
}

TEST(Ablation, GrowthIsTheDifferenceOfTheStoredBytes) {
  const auto source = pocket_model("models/pocket");
  const auto result = pocket_model("tests/data/golden/autoround-rtn");
  const std::vector<Lane> lanes = ablation_lanes(result, source);
  const WindowedText text = pocket_text(1);
  for (const Lane& lane : lanes) {
    if (!lane.donated.contains(Role::o_proj)) continue;
    LaneScores scores;
    scores.divergence.assign(static_cast<size_t>(text.windows[0].compared()), 0.0);
    const Ablation ablation = ablation_of(lane, scores, scores, text.windows);
    const Parameter* o_proj = source->table().find(Part::text, 3, Role::o_proj);
    const int64_t weights = o_proj->shape[0] * o_proj->shape[1];
    // BF16 against codes, one F16 scale and half a byte of zeros for each 128 weights.
    EXPECT_EQ(ablation.added_bytes, 2 * weights - weights / 2 - weights / 128 * 5 / 2);
  }
}

}  // namespace
}  // namespace qround::eval
