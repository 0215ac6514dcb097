#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <deque>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/safetensors_layout.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/model_location.h"
#include "cli/text_model.h"
#include "model/model.h"

namespace qround {
namespace {

struct Options {
  std::string directory, ids, output;
  ComputeOptions compute;
  int mtp = 0;
  bool hidden = false;
};

std::vector<std::vector<int32_t>> read_sequences(const std::string& path) {
  const Json lists = Json::parse_file(path);
  const Error malformed =
      Error("not a list of lists of token ids").file(path).hint("for example [[1, 2, 3], [4, 5]]");
  if (!lists.is_array()) throw malformed;
  std::vector<std::vector<int32_t>> sequences;
  for (const Json& list : lists.as_array()) {
    if (!list.is_array()) throw malformed;
    std::vector<int32_t> ids;
    for (const Json& id : list.as_array()) {
      if (!id.is_int() || id.as_int() < 0 || id.as_int() > INT32_MAX) throw malformed;
      ids.push_back(static_cast<int32_t>(id.as_int()));
    }
    if (ids.empty())
      throw Error("a sequence is empty")
          .file(path)
          .actual(fmt::format("list {}", sequences.size()));
    sequences.push_back(std::move(ids));
  }
  return sequences;
}

// Tensors of the output, kept until the file is written.
class Collection {
 public:
  void add(std::string name, std::span<const float> values, int64_t width) {
    store_.emplace_back(values.begin(), values.end());
    const std::vector<float>& kept = store_.back();
    tensors_.emplace_back(std::move(name),
                          TensorView{DType::f32,
                                     {static_cast<int64_t>(kept.size()) / width, width},
                                     reinterpret_cast<const std::byte*>(kept.data())});
  }
  const std::vector<std::pair<std::string, TensorView>>& tensors() const { return tensors_; }

 private:
  std::deque<std::vector<float>> store_;
  std::vector<std::pair<std::string, TensorView>> tensors_;
};

class LogitsRun {
 public:
  LogitsRun(const Model& model, const Executor& executor, const Options& options)
      : model_(model), executor_(executor), options_(options) {}

  void run(const std::string& name, std::span<const int32_t> ids, Collection& out) const {
    const int64_t h = model_.config().hidden;
    const auto layers = static_cast<int64_t>(model_.config().mixers.size());
    SequenceState state = model_.empty_state();
    Rows hidden(model_.memory(), static_cast<int64_t>(ids.size()) * h);
    // As transformers records them: the last layer appears after the final norm.
    const Model::Observer observer = [&](int64_t level, std::span<const float> values) {
      if (level != layers)
        out.add(fmt::format("{}.hidden.{}", name, std::min(level, layers)), values, h);
    };
    model_.forward(ids, state, hidden.data(), executor_,
                   options_.hidden ? observer : Model::Observer());
    add_logits(name + ".logits", hidden, out);
    run_mtp(name, ids, std::move(hidden), out);
  }

 private:
  using Rows = ops::Buffer<float>;  // of hidden states, in the model's memory

  // Draft `draft` reads the output of the one before and the token `draft` places further on.
  void run_mtp(const std::string& name, std::span<const int32_t> ids, Rows rows,
               Collection& out) const {
    for (int draft = 1; draft <= options_.mtp && static_cast<size_t>(draft) < ids.size(); ++draft) {
      const auto next = ids.subspan(static_cast<size_t>(draft));
      SequenceState state = model_.empty_mtp_state();
      Rows result(model_.memory(), static_cast<int64_t>(next.size()) * model_.config().hidden);
      const SequenceRows all{.state = &state, .tokens = static_cast<int64_t>(next.size())};
      model_.mtp_forward(next, rows.data(), std::span(&all, 1), result.data(), executor_);
      add_logits(fmt::format("{}.mtp{}.logits", name, draft), result, out);
      rows = std::move(result);
    }
  }
  void add_logits(const std::string& name, const Rows& rows, Collection& out) const {
    const int64_t n = rows.size() / model_.config().hidden, vocab = model_.config().vocab;
    Rows logits(model_.memory(), n * vocab);
    model_.logits(rows.data(), n, logits.data(), executor_);
    out.add(name, logits.to_vector(), vocab);
  }

  const Model& model_;
  const Executor& executor_;
  const Options& options_;
};

int run(const Options& options) {
  const std::vector<std::vector<int32_t>> sequences = read_sequences(options.ids);
  const Model model = load_model(model_directory(options.directory), options.compute);
  if (options.mtp > 0 && !model.has_mtp())
    throw Error("the checkpoint has no MTP head").file(model.checkpoint().path());
  ops::Workspace workspace(model.memory());
  const Executor executor{options.compute.table(), options.compute.context(workspace)};
  const LogitsRun logits(model, executor, options);
  Collection collection;
  for (size_t i = 0; i < sequences.size(); ++i)
    logits.run(std::to_string(i), sequences[i], collection);
  write_safetensors(options.output, collection.tensors());
  fmt::print(stderr, "{}: {} tensors of {} sequences, backend {}\n", options.output,
             collection.tensors().size(), sequences.size(), executor.ops.name);
  return 0;
}

}  // namespace

std::function<int()> setup_logits_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory")->required();
  app.add_option("--ids", options->ids, "JSON file: a list of lists of token ids")->required();
  app.add_option("-o,--output", options->output,
                 "Safetensors file to write: I.logits, I.hidden.L, I.mtpK.logits")
      ->required();
  app.add_option("--mtp", options->mtp, "Teacher-forced MTP drafts to compute")
      ->check(CLI::Range(0, 8))
      ->capture_default_str();
  app.add_flag("--hidden", options->hidden, "Also the hidden states of every layer");
  app.add_flag_callback(
      "--int8", [options] { options->compute.activations = ops::Activations::int8; },
      "Round the inputs of int4 maps to 8 bits, as generate does without --exact");
  add_compute_options(app, options->compute);
  add_gpu_memory_option(app, options->compute);
  return [options] { return run(*options); };
}

}  // namespace qround
