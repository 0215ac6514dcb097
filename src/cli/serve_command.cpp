#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <chrono>
#include <memory>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/draft_options.h"
#include "cli/interrupt.h"
#include "cli/model_location.h"
#include "cli/text_model.h"
#include "cli/version.h"
#include "engine/engine.h"
#include "server/application.h"

namespace qround {
namespace {

constexpr std::chrono::milliseconds kSignalLook(50);

struct Options {
  std::string directory, api_key, api_key_file;
  std::vector<std::string> aliases, origins;
  server::HttpServerOptions http;
  ComputeOptions compute;
  SamplingFlags sampling;
  DraftFlags drafts;
  EngineOptions engine;
  int64_t grace_seconds = 30;
  bool log_requests = false;
};

std::string api_key(const Options& options) {
  if (options.api_key_file.empty()) return options.api_key;
  std::string key = read_file(options.api_key_file);
  key.erase(key.find_last_not_of(" \t\r\n") + 1);
  if (key.empty()) throw Error("the file holds no API key").file(options.api_key_file);
  return key;
}

server::ApplicationOptions application_options(const Options& options) {
  server::ApplicationOptions result;
  result.http = options.http;
  result.api_key = api_key(options);
  result.origins = options.origins;
  result.version = kVersion;
  if (options.log_requests) {
    result.log = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  }
  return result;
}

std::string directory_name(const std::filesystem::path& directory) {
  const std::filesystem::path whole = std::filesystem::absolute(directory).lexically_normal();
  return whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
}

// Most tokens of a request: the model's, or what was asked for, as far as the memory reaches.
int64_t context_tokens(const Model& model, const Engine& engine) {
  const int64_t wanted = engine.options().context;
  return std::min(wanted == 0 ? model.config().max_positions : wanted,
                  engine.memory_plan().context_tokens());
}

// Declared after what the handlers use: ends them before that goes.
struct StopAtEnd {
  server::Application& application;
  ~StopAtEnd() { application.stop(std::chrono::milliseconds(0)); }
};

void announce(const Options& options, const server::Application& application,
              const server::ServedModel& model, const Engine& engine) {
  fmt::print(stderr, "{}", engine.memory_plan().text());
  const bool open =
      !application.http().is_loopback() && options.api_key.empty() && options.api_key_file.empty();
  if (open)
    fmt::print(stderr, "warning: everyone who reaches this port may use it; see --api-key\n");
  const std::string host = options.http.host.find(':') == std::string::npos
                               ? options.http.host
                               : "[" + options.http.host + "]";
  fmt::print(stderr, "serving {} at http://{}:{}/\n", model.id, host, application.http().port());
}

int run(Options& options) {
  const std::filesystem::path directory = model_directory(options.directory);
  const std::atomic<bool>& interrupted = interrupt_flag();
  server::Application application(application_options(options));
  TextModel text_model = TextModel::load(directory, options.compute);
  options.engine.drafts = options.drafts.resolve();
  options.engine.threads = options.compute.thread_count();
  options.engine.activations = options.compute.activations;
  options.engine.device_memory_bytes = options.compute.gpu_memory_bytes();
  Engine engine(text_model.model, options.compute.table(), options.engine);
  const auto tries = std::make_shared<server::TokenTries>(text_model.tokenizer);
  const server::ServedModel served{
      .id = directory_name(directory),
      .aliases = options.aliases,
      .tokenizer = std::move(text_model.tokenizer),
      .tries = tries,
      .chat_template = ChatTemplate::find(directory),
      .stop_tokens = text_model.stop_tokens,
      .sampling = options.sampling.resolve(text_model.generation_config),
      .context_tokens = context_tokens(text_model.model, engine),
      .created = std::chrono::duration_cast<std::chrono::seconds>(
                     std::chrono::system_clock::now().time_since_epoch())
                     .count(),
      .engine = server::port_of(engine)};
  const StopAtEnd stop{application};
  application.offer(served);
  announce(options, application, served, engine);
  while (!interrupted) std::this_thread::sleep_for(kSignalLook);
  fmt::print(stderr, "stopping; running requests have {} s, a second signal ends at once\n",
             options.grace_seconds);
  application.stop(std::chrono::seconds(options.grace_seconds));
  return 0;
}

void add_server_options(CLI::App& app, Options& options) {
  app.add_option("--host", options.http.host, "Address to listen on")->capture_default_str();
  app.add_option("--port", options.http.port, "Port to listen on; 0: any free one")
      ->capture_default_str();
  auto* key = app.add_option("--api-key", options.api_key,
                             "Key that clients must send; other users of this machine can see "
                             "it, so better --api-key-file or the environment");
  app.add_option("--api-key-file", options.api_key_file, "File that holds the key")->excludes(key);
  app.add_option("--cors", options.origins,
                 "Web origins whose pages may use the server, with commas; * is any")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--alias", options.aliases,
                 "Further names of the model, with commas; * answers to any name")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_flag("--log-requests", options.log_requests,
               "A line per request on standard error, without its contents");
  app.add_option("--grace", options.grace_seconds,
                 "Seconds that running requests have after SIGTERM")
      ->check(CLI::Range(int64_t{0}, int64_t{86400}))
      ->capture_default_str();
}

void add_engine_options(CLI::App& app, Options& options) {
  app.add_option("--ctx", options.engine.context,
                 "Most tokens of a request, prompt and answer; 0: the model's maximum")
      ->check(CLI::Range(int64_t{0}, INT64_MAX))
      ->capture_default_str();
  app.add_option("--parallel", options.engine.max_sequences, "Most requests that run at once")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  app.add_option("--queue", options.engine.max_queue,
                 "Most requests that wait; more are refused with 429")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->capture_default_str();
  app.add_option("--memory", options.engine.state_budget_bytes,
                 "Most memory for keys, values and states (8G, 500MB); default: for contexts of "
                 "32,768 tokens")
      ->transform(CLI::AsSizeValue(false));
}

// Every option can be given as an environment variable: --api-key as QROUND_API_KEY.
void name_variables(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string name = option->get_single_name();
    if (name == "help" || !option->get_envname().empty()) continue;
    std::string variable = "QROUND_";
    for (const char c : name)
      variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    option->envname(variable);
  }
}

}  // namespace

std::function<int()> setup_serve_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("dir", options->directory, "Model directory; default: the pocket model")
      ->envname("QROUND_MODEL");
  add_server_options(app, *options);
  add_engine_options(app, *options);
  add_draft_options(app, options->drafts);
  add_sampling_options(app, options->sampling);
  add_compute_options(app, options->compute);
  add_int8_options(app, options->compute);
  add_gpu_memory_option(app, options->compute);
  name_variables(app);
  return [options] { return run(*options); };
}

}  // namespace qround
