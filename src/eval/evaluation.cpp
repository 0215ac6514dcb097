#include "eval/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "eval/lane_runner.h"

namespace qround::eval {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kSource = "source", kResult = "result", kBaseline = "baseline",
                           kNoise = "noise";

std::shared_ptr<const Model> load(const fs::path& directory) {
  return std::make_shared<const Model>(
      Model::load(std::make_shared<Checkpoint>(Checkpoint::open(directory))));
}

// Networks that differ in shape cannot read the same windows side by side.
void check_same_shape(const Model& source, const Model& result) {
  const ModelConfig &a = source.config(), &b = result.config();
  if (a.vocab != b.vocab || a.hidden != b.hidden || a.mixers != b.mixers ||
      a.moe.has_value() != b.moe.has_value() || (a.moe && a.moe->experts != b.moe->experts)) {
    throw Error("the checkpoint and its source are different networks")
        .file(result.checkpoint().path())
        .expected(fmt::format("{} layers, hidden size {}, vocabulary {}", a.mixers.size(), a.hidden,
                              a.vocab))
        .actual(fmt::format("{} layers, hidden size {}, vocabulary {}", b.mixers.size(), b.hidden,
                            b.vocab))
        .hint("--source names the checkpoint that was quantized");
  }
}

void add_lane(std::vector<Lane>& lanes, std::string_view name, const fs::path& directory) {
  lanes.push_back({.name = std::string(name), .model = load(directory)});
  check_same_shape(*lanes[0].model, *lanes.back().model);
}

// Source and checkpoint.
std::vector<Lane> main_lanes(const EvaluationSpec& spec) {
  std::vector<Lane> lanes;
  if (!spec.source.empty()) add_lane(lanes, kSource, spec.source);
  add_lane(lanes, kResult, spec.directory);
  return lanes;
}

// And what else was asked for, ablations last.
std::vector<Lane> all_lanes(const EvaluationSpec& spec) {
  std::vector<Lane> lanes = main_lanes(spec);
  if (!spec.baseline.empty()) add_lane(lanes, kBaseline, spec.baseline);
  if (spec.noise_floor) {
    lanes.push_back(
        {.name = std::string(kNoise), .model = lanes[0].model, .backend = "ref", .drafts = false});
  }
  if (spec.ablate)
    for (Lane& lane : ablation_lanes(lanes[1].model, lanes[0].model))
      lanes.push_back(std::move(lane));
  return lanes;
}

void require_source(const EvaluationSpec& spec) {
  if (spec.source.empty() && (spec.noise_floor || spec.ablate || !spec.baseline.empty()))
    throw Error("noise floor, ablation and baseline compare with a source").hint("give --source");
}

// A checkpoint whose files change is another one.
std::string identity(const Checkpoint& checkpoint) {
  std::string text = checkpoint.config().dump();
  for (const SafetensorsFile& file : checkpoint.files()) {
    text += fmt::format("\n{} {} {}", file.path().string(), fs::file_size(file.path()),
                        fs::last_write_time(file.path()).time_since_epoch().count());
  }
  return text;
}

// Names the work: whatever changes a figure is in it.
std::string job_key(const std::vector<Lane>& lanes, const WindowedText& text,
                    const std::string& backend) {
  Sha256 hash;
  hash.update(LaneDevices::table(backend).name);
  for (const Lane& lane : lanes) {
    hash.update(fmt::format("\n{}\n{}\n", lane.name, identity(lane.model->checkpoint())));
    if (lane.donor != nullptr) hash.update(identity(lane.donor->checkpoint()));
  }
  hash.update(std::as_bytes(std::span(text.tokens)));
  hash.update(std::as_bytes(std::span(text.windows)));
  return hash.hex();
}

std::vector<LaneScores> run(const EvaluationSpec& spec, const std::vector<Lane>& lanes,
                            const WindowedText& text) {
  SideBySideOptions options = spec.run;
  options.state_key = job_key(lanes, text, options.backend);
  return run_side_by_side(lanes, text, options);
}

// Prompts are the beginnings of windows spread evenly over the text.
std::vector<std::span<const int32_t>> drafting_prompts(const DraftingOptions& options,
                                                       const WindowedText& text) {
  std::vector<std::span<const int32_t>> prompts;
  const auto windows = static_cast<int64_t>(text.windows.size());
  const int64_t n = std::min(options.prompts, windows);
  for (int64_t i = 0; i < n; ++i) {
    const auto ids = text.ids(text.windows[static_cast<size_t>(i * windows / n)]);
    prompts.push_back(ids.first(std::min(ids.size(), static_cast<size_t>(options.prompt_tokens))));
  }
  return prompts;
}

std::vector<LaneDrafting> run_drafting(const EvaluationSpec& spec, const std::vector<Lane>& lanes,
                                       const WindowedText& text) {
  std::vector<LaneDrafting> all;
  if (spec.drafting.prompts == 0) return all;
  const auto prompts = drafting_prompts(spec.drafting, text);
  const ops::OpTable& table = LaneDevices::table(spec.run.backend);
  ops::Workspace workspace(*table.memory);
  const Executor executor{table, {spec.run.threads, workspace}};
  for (const Lane& lane : lanes) {
    if (!lane.drafts || !lane.model->has_mtp()) continue;
    const Model model = lane.model->in(*table.memory);
    all.push_back({lane.name,
                   draft_along(model, prompts, spec.drafting.new_tokens, executor, spec.run.stop)});
  }
  return all;
}

std::string last_part(const fs::path& path) {
  return path.empty() ? "" : fs::weakly_canonical(path).filename().string();
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

Json drafting_json(const Evaluation& e) {
  Json::Array lanes;
  for (const LaneDrafting& lane : e.drafting) {
    Json::Array depths;
    for (const DraftingCounts& counts : lane.depths) depths.push_back(to_json(counts));
    lanes.push_back(Json::object({{"name", lane.lane}, {"depths", Json(std::move(depths))}}));
  }
  return Json::object({{"prompts", e.drafting_options.prompts},
                       {"prompt_tokens", e.drafting_options.prompt_tokens},
                       {"new_tokens", e.drafting_options.new_tokens},
                       {"lanes", Json(std::move(lanes))}});
}

template <typename T>
Json array_json(const std::vector<T>& values) {
  Json::Array array;
  for (const T& value : values) array.push_back(to_json(value));
  return Json(std::move(array));
}

}  // namespace

const LaneFigures& lane_named(const Evaluation& evaluation, std::string_view name) {
  return *std::find_if(evaluation.lanes.begin(), evaluation.lanes.end(),
                       [&](const LaneFigures& lane) { return lane.name == name; });
}

Evaluation run_evaluation(const EvaluationSpec& spec) {
  const auto begin = std::chrono::steady_clock::now();
  PeakMemory memory;
  require_source(spec);
  Evaluation result;
  result.directory = last_part(spec.directory);
  result.source = last_part(spec.source);
  result.protocol = spec.protocol;
  result.text = load_text_data(spec.data, Tokenizer::load(spec.directory));
  const WindowedText text = cut_windows(result.text.tokens, spec.protocol);
  result.windows = static_cast<int64_t>(text.windows.size());
  const std::vector<Lane> lanes = all_lanes(spec);
  std::vector<LaneScores> scores = run(spec, lanes, text);
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    if (lanes[lane].donor != nullptr) {
      result.ablations.push_back(ablation_of(lanes[lane], scores[lane], scores[1], text.windows));
      continue;
    }
    result.lanes.push_back(
        figures_of(lanes[lane].name, scores[lane], scores[0], lane == 0, text.windows));
    if (lanes[lane].name == kBaseline)
      result.baseline_difference = divergence_difference(scores[lane], scores[1], text.windows);
  }
  std::stable_sort(result.ablations.begin(), result.ablations.end(),
                   [](const Ablation& a, const Ablation& b) {
                     return a.gain_per_megabyte() > b.gain_per_megabyte();
                   });
  scores.resize(result.lanes.size());
  result.scores = std::move(scores);
  result.drafting_options = spec.drafting;
  result.drafting = run_drafting(spec, lanes, text);
  result.backend = LaneDevices::table(spec.run.backend).name;
  result.threads = spec.run.threads.count;
  result.peak_memory_bytes = memory.peak_bytes();
  result.seconds = seconds_since(begin);
  return result;
}

ChoiceEvaluation run_choice_evaluation(const EvaluationSpec& spec, const fs::path& choices) {
  const auto begin = std::chrono::steady_clock::now();
  const ChoiceTask task = load_choices(choices, Tokenizer::load(spec.directory));
  std::vector<Lane> lanes = main_lanes(spec);
  for (Lane& lane : lanes) lane.drafts = false;
  const std::vector<LaneScores> scores = run(spec, lanes, task.text);
  ChoiceEvaluation result{last_part(spec.directory),
                          last_part(spec.source),
                          task.name,
                          task.sha256,
                          static_cast<int64_t>(task.questions.size()),
                          {},
                          0};
  for (size_t lane = 0; lane < lanes.size(); ++lane)
    result.lanes.push_back(choice_figures(lanes[lane].name, scores[lane], task));
  result.seconds = seconds_since(begin);
  return result;
}

Json to_json(const Evaluation& e) {
  Json json =
      Json::object({{"directory", e.directory},
                    {"source", e.source.empty() ? Json() : Json(e.source)},
                    {"data", Json::object({{"name", e.text.name},
                                           {"sha256", e.text.text_sha256},
                                           {"tokens", static_cast<int64_t>(e.text.tokens.size())},
                                           {"tokens_sha256", e.text.tokens_sha256}})},
                    {"protocol", to_json(e.protocol)},
                    {"windows", e.windows},
                    {"interval", fmt::format("95 %, percentile bootstrap over windows, {} draws",
                                             kBootstrapDraws)},
                    {"lanes", array_json(e.lanes)}});
  if (e.baseline_difference) json.set("baseline_minus_result", to_json(*e.baseline_difference));
  if (!e.ablations.empty()) json.set("ablations", array_json(e.ablations));
  if (!e.drafting.empty()) json.set("mtp_drafting", drafting_json(e));
  json.set("backend", e.backend);
  json.set("threads", e.threads);
  json.set("seconds", e.seconds);
  json.set("peak_memory_bytes", e.peak_memory_bytes);
  return json;
}

Json to_json(const ChoiceEvaluation& e) {
  return Json::object({{"directory", e.directory},
                       {"source", e.source.empty() ? Json() : Json(e.source)},
                       {"data", Json::object({{"name", e.data}, {"sha256", e.data_sha256}})},
                       {"questions", e.questions},
                       {"lanes", array_json(e.lanes)},
                       {"seconds", e.seconds}});
}

}  // namespace qround::eval
