#include "eval/row_file.h"

#include <deque>

#include "checkpoint/safetensors_layout.h"

namespace qround::eval {
namespace {

template <typename T>
TensorView view_of(DType dtype, Shape shape, const std::vector<T>& values) {
  return {dtype, std::move(shape), reinterpret_cast<const std::byte*>(values.data())};
}

std::vector<int32_t> hits_of(const std::vector<DraftCounts>& drafts) {
  std::vector<int32_t> hits;
  for (const DraftCounts& window : drafts)
    for (const int64_t count : window.hits) hits.push_back(static_cast<int32_t>(count));
  return hits;
}

}  // namespace

void write_rows(const std::filesystem::path& path, const Evaluation& evaluation) {
  std::vector<std::pair<std::string, TensorView>> tensors;
  std::deque<std::vector<int32_t>> hits;  // what the views of draft_hits point at
  for (size_t lane = 0; lane < evaluation.lanes.size(); ++lane) {
    const std::string& name = evaluation.lanes[lane].name;
    const LaneScores& scores = evaluation.scores[lane];
    const auto rows = [](const auto& values) { return Shape{static_cast<int64_t>(values.size())}; };
    tensors.emplace_back(name + ".nll", view_of(DType::f64, rows(scores.nll), scores.nll));
    tensors.emplace_back(name + ".top", view_of(DType::i32, rows(scores.top), scores.top));
    if (!scores.divergence.empty()) {
      tensors.emplace_back(name + ".divergence",
                           view_of(DType::f64, rows(scores.divergence), scores.divergence));
    }
    if (!scores.drafts.empty()) {
      hits.push_back(hits_of(scores.drafts));
      const Shape shape{static_cast<int64_t>(scores.drafts.size()), kDraftDepths};
      tensors.emplace_back(name + ".draft_hits", view_of(DType::i32, shape, hits.back()));
    }
  }
  write_safetensors(path, tensors);
}

}  // namespace qround::eval
