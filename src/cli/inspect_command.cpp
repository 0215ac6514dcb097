#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <set>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "cli/command.h"
#include "cli/model_location.h"
#include "model/stored_parameter.h"
#include "model/tensor_table.h"

namespace qround {
namespace {

struct Options {
  std::string directory;
  std::string pattern;  // list tensors matching it
  bool json = false;
};

// One line of the summary: all parameters of a class.
struct ClassRow {
  int64_t parameters = 0;  // weights, not tensors
  uint64_t bytes = 0;
  int64_t tensors = 0;
  std::set<std::string> dtypes;

  double bits_per_weight() const {
    return parameters == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
  }
};

std::string class_name(const Parameter& parameter) {
  if (parameter.part == Part::mtp) return "mtp";
  if (parameter.part == Part::visual) return "visual";
  switch (parameter.role) {
    case Role::embedding:
      return "embedding";
    case Role::lm_head:
      return "lm_head";
    case Role::router:
      return "routers";
    case Role::expert_gate:
    case Role::expert_up:
    case Role::expert_down:
      return "experts";
    case Role::shared_gate:
    case Role::shared_up:
    case Role::shared_down:
    case Role::shared_expert_gate:
      return "shared experts";
    case Role::dense_gate:
    case Role::dense_up:
    case Role::dense_down:
      return "feed-forward";
    case Role::q_proj:
    case Role::k_proj:
    case Role::v_proj:
    case Role::o_proj:
    case Role::q_norm:
    case Role::k_norm:
      return "attention";
    case Role::in_proj_qkv:
    case Role::in_proj_z:
    case Role::in_proj_b:
    case Role::in_proj_a:
    case Role::out_proj:
    case Role::conv1d:
    case Role::a_log:
    case Role::dt_bias:
    case Role::delta_net_norm:
      return "gated delta net";
    case Role::final_norm:
    case Role::input_norm:
    case Role::post_attention_norm:
    case Role::mtp_fc:
    case Role::mtp_embedding_norm:
    case Role::mtp_hidden_norm:
    case Role::visual_linear:
    case Role::visual_other:
      return "norms";
  }
  return "norms";
}

// What the summary counts, by walking the table once.
class Inventory {
 public:
  Inventory(const Checkpoint& checkpoint, const TensorTable& table) {
    for (const Parameter& parameter : table.parameters()) {
      const std::vector<std::string> names = stored_tensors(checkpoint, parameter);
      ClassRow& row = classes_[class_name(parameter)];
      ClassRow* layer = parameter.part == Part::text && parameter.block >= 0
                            ? &layers_[parameter.block]
                            : nullptr;
      if (!names.empty()) {
        const int64_t count = element_count(parameter.shape);
        row.parameters += count;
        if (layer != nullptr) layer->parameters += count;
      }
      for (const std::string& name : names) {
        if (!seen_.insert(name).second) continue;  // a fused tensor holds many parameters
        add(checkpoint.at(name), row);
        if (layer != nullptr) add(checkpoint.at(name), *layer);
      }
      int4_ += std::holds_alternative<Int4Tensors>(find_stored(checkpoint, parameter)) ? 1 : 0;
    }
    for (const TensorEntry& entry : checkpoint.tensors()) {
      if (!seen_.contains(entry.name)) add(entry, classes_["unknown"]);
    }
  }

  const std::map<std::string, ClassRow>& classes() const { return classes_; }
  const std::map<int64_t, ClassRow>& layers() const { return layers_; }
  int64_t int4_linears() const { return int4_; }

 private:
  static void add(const TensorEntry& entry, ClassRow& row) {
    row.bytes += entry.bytes();
    row.tensors += 1;
    row.dtypes.emplace(dtype_name(entry.dtype));
  }

  std::map<std::string, ClassRow> classes_;
  std::map<int64_t, ClassRow> layers_;
  std::set<std::string> seen_;
  int64_t int4_ = 0;
};

Json row_json(const ClassRow& row) {
  Json::Array dtypes(row.dtypes.begin(), row.dtypes.end());
  return Json::object({{"parameters", row.parameters},
                       {"tensors", row.tensors},
                       {"bytes", row.bytes},
                       {"bits_per_weight", row.bits_per_weight()},
                       {"dtypes", Json(std::move(dtypes))}});
}

Json summary_json(const Checkpoint& checkpoint, const ModelConfig& config,
                  const Inventory& inventory) {
  Json summary = Json::object({{"directory", checkpoint.path().string()},
                               {"architecture", config.architecture},
                               {"shards", static_cast<int64_t>(checkpoint.files().size())},
                               {"tensors", static_cast<int64_t>(checkpoint.tensors().size())},
                               {"bytes", checkpoint.total_bytes()},
                               {"int4_linears", inventory.int4_linears()}});
  Json classes = Json::object(), layers = Json::object();
  for (const auto& [name, row] : inventory.classes()) classes.set(name, row_json(row));
  for (const auto& [layer, row] : inventory.layers())
    layers.set(std::to_string(layer), row_json(row));
  summary.set("classes", std::move(classes)).set("layers", std::move(layers));
  return summary;
}

void print_row(const std::string& name, const ClassRow& row) {
  fmt::print("{:<18} {:>8} {:>15} {:>16} {:>8.3f}  {}\n", name, row.tensors, row.parameters,
             row.bytes, row.bits_per_weight(), fmt::join(row.dtypes, " "));
}

void print_summary(const Checkpoint& checkpoint, const ModelConfig& config,
                   const Inventory& inventory) {
  fmt::print("{}\n{}, {} layers, hidden {}, vocabulary {}\n", checkpoint.path().string(),
             config.architecture, config.mixers.size(), config.hidden, config.vocab);
  fmt::print("{} tensors in {} files, {} bytes; {} int4 linears\n\n", checkpoint.tensors().size(),
             checkpoint.files().size(), checkpoint.total_bytes(), inventory.int4_linears());
  fmt::print("{:<18} {:>8} {:>15} {:>16} {:>8}  {}\n", "class", "tensors", "weights", "bytes",
             "bits/w", "dtypes");
  for (const auto& [name, row] : inventory.classes()) print_row(name, row);
  fmt::print("\n");
  for (const auto& [layer, row] : inventory.layers())
    print_row(fmt::format("layer {}", layer), row);
}

int list_tensors(const Checkpoint& checkpoint, const Options& options) {
  Json::Array rows;
  for (const TensorEntry& entry : checkpoint.tensors()) {
    if (fnmatch(options.pattern.c_str(), entry.name.c_str(), 0) != 0) continue;
    const std::string file = checkpoint.files()[entry.file_idx].path().filename().string();
    if (options.json) {
      Json::Array shape(entry.shape.begin(), entry.shape.end());
      rows.push_back(Json::object({{"name", entry.name},
                                   {"dtype", dtype_name(entry.dtype)},
                                   {"shape", Json(std::move(shape))},
                                   {"bytes", entry.bytes()},
                                   {"file", file}}));
    } else {
      fmt::print("{:<8} {:<22} {:>12}  {}  {}\n", dtype_name(entry.dtype), shape_text(entry.shape),
                 entry.bytes(), file, entry.name);
    }
  }
  if (options.json) fmt::print("{}\n", Json(std::move(rows)).dump({.indent = 1}));
  return 0;
}

int run(const Options& options) {
  const Checkpoint checkpoint = Checkpoint::open(model_directory(options.directory));
  if (!options.pattern.empty()) return list_tensors(checkpoint, options);
  const ModelConfig config =
      parse_model_config(checkpoint.config(), checkpoint.path() / "config.json");
  const Inventory inventory(checkpoint, TensorTable::of(config));
  if (options.json) {
    fmt::print("{}\n", summary_json(checkpoint, config, inventory).dump({.indent = 2}));
  } else {
    print_summary(checkpoint, config, inventory);
  }
  return 0;
}

}  // namespace

std::function<int()> setup_inspect_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model");
  app.add_option("--tensors", options->pattern,
                 "List the tensors whose names match this pattern ('*': all)");
  app.add_flag("--json", options->json, "Print JSON");
  return [options] { return run(*options); };
}

}  // namespace qround
