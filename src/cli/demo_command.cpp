// The whole path on the pocket model, with the same code as the commands named in its output.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "cli/answer.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_options.h"
#include "cli/model_location.h"
#include "eval/evaluation.h"

namespace qround {
namespace {
namespace fs = std::filesystem;

struct Options {
  std::string output;
  bool plain = false;
  ComputeOptions compute;
};

struct Question {
  const char* text;
  const char* answer;  // what a right answer contains
};

constexpr int64_t kEvaluatedWindows = 16;

constexpr Question kQuestions[] = {
    {"What is the capital of Japan?", "Tokyo"},
    {"What is 7 plus 5?", "12"},
};

// A folder that goes when the demo ends, unless the user named one to keep.
class DemoFolder {
 public:
  explicit DemoFolder(const std::string& wanted) {
    if (!wanted.empty()) {
      path_ = wanted;
      return;
    }
    std::string pattern = (fs::temp_directory_path() / "qround-demo-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
      throw system_error("create a temporary folder", pattern);
    path_ = pattern;
    temporary_ = true;
  }
  ~DemoFolder() {
    std::error_code ignored;
    if (temporary_) fs::remove_all(path_, ignored);
  }
  DemoFolder(const DemoFolder&) = delete;
  DemoFolder& operator=(const DemoFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  bool temporary_ = false;
};

void headline(const std::string& text) {
  fmt::print("\n== {}\n", text);
  std::fflush(stdout);
}

// The light recipe, on sequences as short as the pocket model's texts.
quant::JobSpec job_of(const fs::path& source, const fs::path& output, const Options& options) {
  JobOptions job;
  job.compute = options.compute;
  quant::JobSpec spec = job.spec(source, output);
  if (options.plain) return spec;
  spec.recipe = quant::recipe_by_name("light");
  spec.recipe->length = 256;
  spec.calibration.data = (source / "calibration.jsonl").string();
  return spec;
}

void quantize(const fs::path& source, const fs::path& output, const Options& options) {
  const quant::PlannedJob job = quant::plan_job(job_of(source, output, options));
  headline("qround plan");
  fmt::print("{}", plan_text(job.plan));
  headline(options.plain ? "qround quantize --iters 0"
                         : "qround quantize --recipe light --seqlen 256 --data calibration.jsonl");
  Progress progress(standard_error_sink(false));
  const Report report = quant::run_job(job, progress, &interrupt_flag());
  fmt::print("{} of {} linear maps are int4\n", report.linears_quantized, report.linears);
  fmt::print("size before {} bytes, after {} bytes\n", report.bytes_before, report.bytes_after);
  for (const ErrorSummary& error : report.errors) {
    fmt::print("  {:<22} {:>4} maps, relative error {:.4f} on average, {:.4f} at most\n",
               error.kind, error.count, error.mean, error.max);
  }
  fmt::print("read back and checked: {} rules, {} errors, {} warnings\n", report.rules_checked(),
             report.rule_errors(), report.rule_warnings());
}

// A first look at what rounding cost; the whole text takes `qround eval`.
void measure(const fs::path& source, const fs::path& output, const ComputeOptions& compute) {
  headline(fmt::format("qround eval --source pocket --data pocket --limit {}", kEvaluatedWindows));
  eval::EvaluationSpec spec;
  spec.directory = output;
  spec.source = source;
  spec.data = source / "evaluation.txt";
  spec.protocol = eval::protocol_named("windows");
  spec.protocol.max_windows = kEvaluatedWindows;
  spec.run.threads = compute.thread_count();
  spec.run.backend = compute.backend;
  spec.run.stop = &interrupt_flag();
  const eval::Evaluation evaluation = run_evaluation(spec);
  const eval::LaneFigures& before = lane_named(evaluation, "source");
  const eval::LaneFigures& after = lane_named(evaluation, "result");
  fmt::print("perplexity {:.4f} before, {:.4f} after\n", before.perplexity.value,
             after.perplexity.value);
  fmt::print("KL divergence {:.6f} nats, same top token at {:.2f} % of {} positions\n",
             after.divergence->mean.value, 100 * after.divergence->top_agreement.value,
             after.divergence->rows);
  fmt::print("the MTP head's first draft is right {:.1f} % of the time before, {:.1f} % after\n",
             100 * before.drafts.at(0).agreement.value, 100 * after.drafts.at(0).agreement.value);
}

// Returns whether every answer was right. The questions are put as the model's training text puts
// them.
bool ask(const fs::path& directory, const ComputeOptions& compute) {
  headline("qround generate --greedy -p 'Q: ...\\nA:', from the int4 model");
  const TextModel text_model = TextModel::load(directory, compute);
  Engine engine(
      text_model.model, compute.table(),
      {.max_sequences = 1, .threads = compute.thread_count(), .activations = compute.activations});
  bool all_right = true;
  for (const Question& question : kQuestions) {
    const std::string prompt = fmt::format("Q: {}\nA:", question.text);
    const Request request{.tokens = text_model.tokenizer.encode(prompt),
                          .max_tokens = 64,
                          .stop_tokens = text_model.stop_tokens};
    fmt::print("{}", prompt);
    const auto show = [](std::string_view piece) { fmt::print("{}", piece); };
    const Answer answer =
        generate_text(text_model.tokenizer, engine, request, {.stops = {"\n"}}, show);
    const bool right = answer.text.find(question.answer) != std::string::npos;
    fmt::print("{}\n", right ? "" : fmt::format("   (wrong: expected {})", question.answer));
    all_right = all_right && right;
  }
  return all_right;
}

int run(const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  const fs::path source = pocket_directory();
  const DemoFolder folder(options.output);
  fmt::print(
      "The pocket model: a trained network of 6.9 million parameters with the architecture of "
      "Qwen3.6-35B-A3B.\n");
  quantize(source, folder.path(), options);
  measure(source, folder.path(), options.compute);
  const bool right = ask(folder.path(), options.compute);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("\n{} in {:.1f} s{}\n", right ? "All of it right," : "Not all answers are right,",
             seconds,
             options.output.empty() ? "" : "; the int4 checkpoint is in " + options.output);
  return right ? 0 : exit_status(ErrorKind::check);
}

}  // namespace

std::function<int()> setup_demo_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("-o,--output", options->output,
                 "Keep the int4 checkpoint in this folder; default: a temporary one");
  app.add_flag("--plain", options->plain, "Round to nearest instead of learning: one second");
  add_compute_options(app, options->compute);
  return [options] { return run(*options); };
}

}  // namespace qround
