#include "quant/job_report.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/hash.h"

namespace qround::quant {
namespace {

// "source/" has an empty last name; a relative "." only tells when made absolute.
std::string directory_name(const std::filesystem::path& path) {
  std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  return whole.filename().string();
}

}  // namespace

std::vector<std::pair<std::string, Json>> recipe_members(const JobSpec& spec) {
  Json::Array rules;
  for (const PolicyRule& rule : spec.policy.rules) {
    const bool keep = rule.action == PolicyRule::Action::keep;
    rules.push_back(Json::object({{keep ? "keep" : "quantize", rule.pattern}}));
  }
  std::vector<std::pair<std::string, Json>> members = {
      {"scheme", spec.policy.scheme.name()},
      {"bits", Scheme::kBits},
      {"group_size", spec.policy.scheme.group_size},
      {"rounding", std::string(spec.rounding().name())},
      {"iters", spec.iterations()},
      {"rules", Json(std::move(rules))},
      {"max_shard_bytes", spec.max_shard_bytes}};
  if (spec.recipe) {
    const char* name =
        spec.rounding().way == Rounding::Way::searched ? "searched_scales" : "learned_rounding";
    members.emplace_back(name, to_json(*spec.recipe));
  }
  return members;
}

Report start_report(const PlannedJob& job) {
  Report report;
  report.tool_version = job.spec.tool_version;
  report.source = directory_name(job.spec.source);
  report.source_config_sha256 = sha256_of_file(job.source.path() / "config.json");
  std::error_code ignored;
  if (std::filesystem::exists(job.source.path() / kIndexFileName, ignored))
    report.source_index_sha256 = sha256_of_file(job.source.path() / kIndexFileName);
  report.recipe = recipe_members(job.spec);
  report.linears_quantized = job.plan.linears.quantized;
  report.linears = job.plan.linears.total;
  report.mtp_linears_quantized = job.plan.linears.mtp_quantized;
  report.mtp_linears = job.plan.linears.mtp_total;
  report.tensors_before = job.plan.tensors_before;
  report.tensors_after = job.plan.tensors_after;
  report.bytes_before = job.plan.bytes_before;
  report.bytes_after = job.plan.bytes_after;
  report.threads = job.spec.threads.count;
  return report;
}

void throw_if_failed(const PlannedJob& job, const verify::Outcome& outcome) {
  for (const verify::RuleOutcome& rule : outcome.rules) {
    if (rule.severity != verify::Severity::error || rule.findings.count() == 0) continue;
    const verify::Finding& first = rule.findings.first().front();
    throw Error(fmt::format("the written checkpoint is wrong in {} places, first by rule '{}': {}",
                            outcome.count(verify::Severity::error), rule.rule, first.message),
                ErrorKind::check)
        .file(job.spec.output)
        .tensor(first.tensor)
        .expected(first.expected)
        .actual(first.actual)
        .hint("all findings stand in report.json");
  }
}

}  // namespace qround::quant
