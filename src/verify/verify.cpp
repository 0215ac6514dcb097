#include "verify/verify.h"

#include <algorithm>

#include "base/error.h"
#include "model/model_config.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

RuleOutcome unchecked(const Rule& rule) {
  return {.rule = std::string(rule.id),
          .severity = rule.severity,
          .applies_to = std::string(rule.applies_to)};
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

void check_opened(const Request& request, const Checkpoint& checkpoint, const TensorTable& table,
                  Progress& progress, Outcome& outcome) {
  Subject subject{.checkpoint = checkpoint,
                  .source = request.source,
                  .table = table,
                  .forms = stored_forms(checkpoint, table),
                  .config = {},
                  .threads = request.threads,
                  .progress = progress,
                  .stop = request.stop};
  try {
    subject.config = read_quantization_config(checkpoint);
  } catch (const Error&) {  // the rule config-values meets and reports it again
  }
  for (const Rule& rule : rules()) {
    const bool possible = !rule.needs_source || request.source != nullptr;
    outcome.rules.push_back(possible ? checked(rule, subject) : unchecked(rule));
  }
}

Json finding_json(const Finding& finding) {
  return Json::object({{"tensor", finding.tensor},
                       {"message", finding.message},
                       {"expected", finding.expected},
                       {"actual", finding.actual}});
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
  Outcome outcome;
  outcome.rules.push_back({.rule = std::string(kOpensRule), .applies_to = "all", .checked = true});
  try {
    const Checkpoint checkpoint = Checkpoint::open(request.directory);
    const ModelConfig config =
        parse_model_config(checkpoint.config(), request.directory / "config.json");
    const TensorTable table = TensorTable::of(config);
    progress.start("verify", checkpoint.total_bytes());
    check_opened(request, checkpoint, table, progress, outcome);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) {
      progress.cancel();
      throw;
    }
    outcome.rules.front().findings.add(finding_of(error));
  }
  progress.finish();
  return outcome;
}

Json to_json(const Outcome& outcome) {
  Json::Array rules;
  for (const RuleOutcome& rule : outcome.rules) {
    Json::Array findings;
    for (const Finding& finding : rule.findings.first()) findings.push_back(finding_json(finding));
    rules.push_back(Json::object({{"rule", rule.rule},
                                  {"severity", std::string(severity_name(rule.severity))},
                                  {"applies_to", rule.applies_to},
                                  {"checked", rule.checked},
                                  {"count", rule.findings.count()},
                                  {"findings", Json(std::move(findings))}}));
  }
  return Json::object({{"passed", outcome.passed()}, {"rules", Json(std::move(rules))}});
}

}  // namespace qround::verify
