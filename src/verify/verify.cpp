#include "verify/verify.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/report.h"
#include "verify/loading.h"
#include "verify/rules.h"
#include "verify/weight_scan.h"

namespace qround::verify {
namespace {

RuleOutcome unchecked(const Rule& rule) {
  return {.rule = std::string(rule.id),
          .severity = rule.severity,
          .applies_to = std::string(rule.applies_to),
          .findings = {}};
}

Finding finding_of(const Error& error) {
  const std::string place = error.tensor().empty() ? error.file() : error.tensor();
  return {place, error.message(), error.expected(), error.actual()};
}

// Runs the rule; an Error it meets is a finding, except that of a user who wants to stop.
RuleOutcome checked(const Rule& rule, const Subject& subject) {
  RuleOutcome outcome = unchecked(rule);
  outcome.checked = true;
  try {
    rule.check(subject, outcome.findings);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) throw;
    outcome.findings.add(finding_of(error));
  }
  return outcome;
}

bool is_possible(const Rule& rule, const Request& request) {
  switch (rule.needs) {
    case Needs::nothing:
      return true;
    case Needs::source:
      return request.source != nullptr;
    case Needs::tensor_counts:
      return !request.tps.empty();
  }
  return false;
}

// The object as programs find it: in config.json or its text_config. They look into the file of
// that name only when told the method by other means.
Json find_quantization(const Checkpoint& checkpoint) {
  constexpr std::string_view kMember = "quantization_config";
  const Json& config = checkpoint.config();
  if (const Json* object = config.find(kMember); object != nullptr && object->is_object())
    return *object;
  const Json* text = config.find("text_config");
  const Json* object = text == nullptr ? nullptr : text->find(kMember);
  if (object != nullptr && object->is_object()) return *object;
  return {};
}

Facts facts_of(const WeightScan& scan) {
  Facts facts{.bytes = scan.bytes,
              .int4_linears = static_cast<int64_t>(scan.linears.size()),
              .worst_module = {}};
  int64_t n_scales = 0, n_negative = 0, n_compared = 0;
  double squares = 0, lost = 0, error_sum = 0;
  for (const LinearScan& linear : scan.linears) {
    n_scales += linear.n_scales;
    n_negative += linear.n_negative;
    squares += linear.scale_squares;
    lost += linear.bf16_loss_squares;
    if (!linear.relative_error) continue;
    ++n_compared;
    error_sum += *linear.relative_error;
    if (*linear.relative_error > facts.max_relative_error) {
      facts.max_relative_error = *linear.relative_error;
      facts.worst_module = linear.parameter->module;
    }
  }
  if (n_scales > 0)
    facts.negative_scales = static_cast<double>(n_negative) / static_cast<double>(n_scales);
  if (squares > 0 && std::isfinite(squares)) facts.bf16_scale_loss = std::sqrt(lost / squares);
  if (n_compared > 0) facts.mean_relative_error = error_sum / static_cast<double>(n_compared);
  return facts;
}

std::string in_words(const Finding& finding) {
  std::string text = finding.tensor.empty() ? "" : finding.tensor + ": ";
  text += finding.message;
  if (!finding.actual.empty()) text += " (" + finding.actual + ")";
  return text;
}

std::vector<Breach> breaches_of(const Outcome& outcome) {
  std::vector<Breach> breaches;
  for (const RuleOutcome& rule : outcome.rules) {
    if (rule.findings.count() > 0)
      breaches.push_back({find_rule(rule.rule), in_words(rule.findings.first().front())});
  }
  return breaches;
}

std::vector<int64_t> tps_of(const Request& request) {
  if (!request.tps.empty()) return request.tps;
  return {std::begin(kUsualTps), std::end(kUsualTps)};
}

std::vector<ConsumerLoading> wanted_loadings(const std::vector<ConsumerLoading>& loadings,
                                             const std::vector<const Consumer*>& wanted) {
  std::vector<ConsumerLoading> result;
  for (const ConsumerLoading& loading : loadings) {
    if (std::find(wanted.begin(), wanted.end(), loading.consumer) != wanted.end())
      result.push_back(loading);
  }
  return result;
}

Subject describe(const Request& request, const Checkpoint& checkpoint, const ModelConfig& model,
                 const TensorTable& table, Progress& progress) {
  Subject subject{.checkpoint = checkpoint,
                  .source = request.source,
                  .model = model,
                  .table = table,
                  .tps = request.tps,
                  .forms = stored_forms(checkpoint, table),
                  .config = {},
                  .quantization = find_quantization(checkpoint),
                  .names = {},
                  .threads = request.threads,
                  .progress = progress,
                  .stop = request.stop};
  try {
    subject.config = read_quantization_config(checkpoint);
  } catch (const Error&) {  // the rule config-values meets and reports it again
  }
  subject.names = read_quantization_names(subject.quantization);
  return subject;
}

void check_opened(const Request& request, const Checkpoint& checkpoint, const ModelConfig& model,
                  const std::vector<const Consumer*>& wanted, Progress& progress,
                  Outcome& outcome) {
  const TensorTable table = TensorTable::of(model);
  Subject subject = describe(request, checkpoint, model, table, progress);
  std::vector<ConsumerLoading> loadings;
  for (const Consumer& consumer : consumers())
    loadings.push_back({&consumer, simulate_loading(subject, consumer)});
  subject.loadings = &loadings;
  progress.start("verify", checkpoint.total_bytes());
  const WeightScan weights = scan_weights(subject);
  progress.finish();
  subject.weights = &weights;
  outcome.facts = facts_of(weights);
  for (const Rule& rule : rules())
    outcome.rules.push_back(is_possible(rule, request) ? checked(rule, subject) : unchecked(rule));
  outcome.verdicts =
      judge(&subject, wanted_loadings(loadings, wanted), breaches_of(outcome), tps_of(request));
}

// Records the Error as a finding of the rule; nothing else can be checked.
void add_opening_failure(const Request& request, const std::vector<const Consumer*>& wanted,
                         const Rule& rule, const Error& error, Outcome& outcome) {
  for (RuleOutcome& row : outcome.rules) {
    if (row.rule == rule.id) row.findings.add(finding_of(error));
  }
  std::vector<ConsumerLoading> loadings;
  for (const Consumer* consumer : wanted) loadings.push_back({consumer, {}});
  outcome.verdicts = judge(nullptr, loadings, breaches_of(outcome), tps_of(request));
}

void run_into(const Request& request, const std::vector<const Consumer*>& wanted,
              Progress& progress, Outcome& outcome) {
  const Rule* rule = &opens_rule();
  try {
    const Checkpoint checkpoint = Checkpoint::open(request.directory);
    rule = &architecture_rule();
    const ModelConfig model =
        parse_model_config(checkpoint.config(), request.directory / "config.json");
    rule = &opens_rule();
    check_opened(request, checkpoint, model, wanted, progress, outcome);
  } catch (const Error& error) {
    progress.cancel();
    if (error.kind() == ErrorKind::interrupted) throw;
    add_opening_failure(request, wanted, *rule, error, outcome);
  }
}

Json finding_json(const Finding& finding) {
  return Json::object({{"tensor", finding.tensor},
                       {"message", finding.message},
                       {"expected", finding.expected},
                       {"actual", finding.actual}});
}

Json rules_json(const Outcome& outcome) {
  Json::Array rules;
  for (const RuleOutcome& rule : outcome.rules) {
    Json::Array findings;
    for (const Finding& finding : rule.findings.first()) findings.push_back(finding_json(finding));
    rules.push_back(Json::object({{"rule", rule.rule},
                                  {"severity", severity_name(rule.severity)},
                                  {"applies_to", rule.applies_to},
                                  {"checked", rule.checked},
                                  {"count", rule.findings.count()},
                                  {"findings", Json(std::move(findings))}}));
  }
  return rules;
}

Json verdicts_json(const Outcome& outcome) {
  Json::Array verdicts;
  for (const Verdict& verdict : outcome.verdicts) {
    verdicts.push_back(
        Json::object({{"consumer", verdict.consumer},
                      {"tp", verdict.tp == 0 ? Json() : Json(verdict.tp)},
                      {"verdict", verdict_name(verdict.kind)},
                      {"text", verdict.text},
                      {"release", verdict.release.empty() ? Json() : Json(verdict.release)}}));
  }
  return verdicts;
}

Json facts_json(const Facts& facts) {
  const auto compared = [&](double value) {
    return facts.mean_relative_error < 0 ? Json() : Json(six_digits(value));
  };
  return Json::object({{"bytes", facts.bytes},
                       {"int4_linears", facts.int4_linears},
                       {"negative_scales", six_digits(facts.negative_scales)},
                       {"bf16_scale_loss", six_digits(facts.bf16_scale_loss)},
                       {"mean_relative_error", compared(facts.mean_relative_error)},
                       {"max_relative_error", compared(facts.max_relative_error)},
                       {"worst_module", facts.worst_module}});
}

}  // namespace

int64_t Outcome::checked() const {
  return std::count_if(rules.begin(), rules.end(), [](const auto& rule) { return rule.checked; });
}

int64_t Outcome::count(Severity severity) const {
  int64_t sum = 0;
  for (const RuleOutcome& rule : rules) {
    if (rule.severity == severity) sum += rule.findings.count();
  }
  return sum;
}

Outcome run(const Request& request, Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<const Consumer*> wanted = select_consumers(request.consumers);
  Outcome outcome;
  for (const Rule* rule : {&opens_rule(), &architecture_rule()}) {
    outcome.rules.push_back(unchecked(*rule));
    outcome.rules.back().checked = true;
  }
  run_into(request, wanted, progress, outcome);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

Json to_json(const Outcome& outcome) {
  return Json::object({{"schema", kSchemaVersion},
                       {"passed", outcome.passed()},
                       {"checked", outcome.checked()},
                       {"errors", outcome.count(Severity::error)},
                       {"warnings", outcome.count(Severity::warning)},
                       {"seconds", std::round(outcome.seconds * 1000) / 1000},
                       {"rules", rules_json(outcome)},
                       {"consumers", verdicts_json(outcome)},
                       {"facts", facts_json(outcome.facts)}});
}

std::vector<ModuleRow> modules_of(const std::filesystem::path& directory,
                                  const Consumer& consumer) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const ModelConfig model = parse_model_config(checkpoint.config(), directory / "config.json");
  const TensorTable table = TensorTable::of(model);
  Progress silent;
  const Request request{.directory = directory, .threads = {1}};
  return resolve_modules(describe(request, checkpoint, model, table, silent), consumer);
}

}  // namespace qround::verify
