#include "eval/evaluation.h"

#include <fmt/format.h>

#include <chrono>

#include "base/error.h"
#include "base/memory.h"

namespace qround::eval {
namespace {
namespace fs = std::filesystem;

std::shared_ptr<const Model> load(const fs::path& directory) {
  return std::make_shared<const Model>(
      Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory))));
}

// Networks that differ in shape cannot read the same windows side by side.
void check_same_shape(const Model& source, const Model& result) {
  const ModelConfig &a = source.config(), &b = result.config();
  if (a.vocab != b.vocab || a.hidden != b.hidden || a.mixers != b.mixers ||
      a.moe.has_value() != b.moe.has_value()) {
    throw Error("the checkpoint and its source are different networks")
        .file(result.checkpoint().path())
        .expected(fmt::format("{} layers, hidden size {}, vocabulary {}", a.mixers.size(), a.hidden,
                              a.vocab))
        .actual(fmt::format("{} layers, hidden size {}, vocabulary {}", b.mixers.size(), b.hidden,
                            b.vocab))
        .hint("--source names the checkpoint that was quantized");
  }
}

std::vector<Lane> lanes_of(const EvaluationSpec& spec) {
  std::vector<Lane> lanes;
  if (!spec.source.empty()) lanes.push_back({.name = "source", .model = load(spec.source)});
  lanes.push_back({.name = "result", .model = load(spec.directory)});
  if (!spec.source.empty()) check_same_shape(*lanes[0].model, *lanes[1].model);
  return lanes;
}

std::string last_part(const fs::path& path) {
  return path.empty() ? "" : fs::weakly_canonical(path).filename().string();
}

}  // namespace

Evaluation run_evaluation(const EvaluationSpec& spec) {
  const auto begin = std::chrono::steady_clock::now();
  PeakMemory memory;
  Evaluation result;
  result.directory = last_part(spec.directory);
  result.source = last_part(spec.source);
  result.protocol = spec.protocol;
  result.text = load_text_data(spec.data, Tokenizer::load(spec.directory));
  const WindowedText text = cut_windows(result.text.tokens, spec.protocol);
  result.windows = static_cast<int64_t>(text.windows.size());
  const std::vector<Lane> lanes = lanes_of(spec);
  result.scores = run_side_by_side(lanes, text, spec.run);
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    result.lanes.push_back(figures_of(lanes[lane].name, result.scores[lane], result.scores[0],
                                      lane == 0, text.windows));
  }
  result.backend = ops::select_backend(spec.run.backend).name;
  result.threads = spec.run.threads.count;
  result.peak_memory_bytes = memory.peak_bytes();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

Json to_json(const Evaluation& e) {
  Json::Array lanes;
  for (const LaneFigures& lane : e.lanes) lanes.push_back(to_json(lane));
  return Json::object(
      {{"directory", e.directory},
       {"source", e.source.empty() ? Json() : Json(e.source)},
       {"data", Json::object({{"name", e.text.name},
                              {"sha256", e.text.text_sha256},
                              {"tokens", static_cast<int64_t>(e.text.tokens.size())},
                              {"tokens_sha256", e.text.tokens_sha256}})},
       {"protocol", to_json(e.protocol)},
       {"windows", e.windows},
       {"lanes", Json(std::move(lanes))},
       {"interval",
        fmt::format("95 %, percentile bootstrap over windows, {} draws", kBootstrapDraws)},
       {"backend", e.backend},
       {"threads", e.threads},
       {"seconds", e.seconds},
       {"peak_memory_bytes", e.peak_memory_bytes}});
}

}  // namespace qround::eval
