#include "base/report.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"

namespace qround {
namespace {

double milliseconds(double seconds) { return std::round(seconds * 1000) / 1000; }

Json error_json(const ErrorSummary& error) {
  Json json = Json::object({{"kind", error.kind}});
  if (error.block >= 0) json.set("block", error.block);
  json.set("count", error.count);
  json.set("min", six_digits(error.min));
  json.set("mean", six_digits(error.mean));
  json.set("max", six_digits(error.max));
  return json;
}

}  // namespace

double six_digits(double value) {
  if (value == 0 || !std::isfinite(value)) return 0;
  const double unit = std::pow(10.0, 5 - std::floor(std::log10(std::fabs(value))));
  return std::round(value * unit) / unit;
}

Json to_json(const Report& report) {
  JsonObject recipe, seconds;
  for (const auto& [key, value] : report.recipe) recipe.set(key, value);
  for (const auto& [phase, value] : report.seconds) seconds.set(phase, milliseconds(value));
  Json::Array errors, by_block, worst;
  for (const ErrorSummary& error : report.errors) errors.push_back(error_json(error));
  for (const ErrorSummary& error : report.errors_by_block) by_block.push_back(error_json(error));
  for (const TensorError& error : report.worst) {
    worst.push_back(Json::object(
        {{"module", error.module}, {"relative_error", six_digits(error.relative_error)}}));
  }
  return Json::object(
      {{"schema", Report::kSchemaVersion},
       {"tool", Json::object({{"name", "qround"}, {"version", report.tool_version}})},
       {"source", Json::object({{"name", report.source},
                                {"config_sha256", report.source_config_sha256},
                                {"index_sha256", report.source_index_sha256.empty()
                                                     ? Json()
                                                     : Json(report.source_index_sha256)}})},
       {"recipe", Json(std::move(recipe))},
       {"tuning", report.tuning},
       {"linears", Json::object({{"quantized", report.linears_quantized},
                                 {"total", report.linears},
                                 {"mtp_quantized", report.mtp_linears_quantized},
                                 {"mtp_total", report.mtp_linears}})},
       {"tensors",
        Json::object({{"before", report.tensors_before}, {"after", report.tensors_after}})},
       {"bytes", Json::object({{"before", report.bytes_before}, {"after", report.bytes_after}})},
       {"relative_error", Json::object({{"by_kind", Json(std::move(errors))},
                                        {"by_kind_and_block", Json(std::move(by_block))},
                                        {"worst", Json(std::move(worst))}})},
       {"seconds", Json(std::move(seconds))},
       {"threads", report.threads},
       {"peak_memory_bytes", report.peak_memory_bytes},
       {"peak_gpu_memory_bytes", report.peak_gpu_memory_bytes},
       {"verify", report.verify}});
}

void write_report(const std::filesystem::path& directory, const Report& report) {
  write_file_atomically(directory / kReportFileName, to_json(report).dump({.indent = 2}) + "\n");
}

Json read_report(const std::filesystem::path& file) {
  Json report = Json::parse_file(file);
  const Json* schema = report.find("schema");
  if (schema == nullptr || *schema != Json(Report::kSchemaVersion)) {
    throw Error("not a report of this program's schema")
        .file(file)
        .expected(fmt::format("schema {}", Report::kSchemaVersion))
        .actual(schema == nullptr ? "none" : schema->dump());
  }
  return report;
}

void add_to_report(const std::filesystem::path& file, std::string_view member, Json value) {
  Json report = std::filesystem::exists(file) ? read_report(file)
                                              : Json::object({{"schema", Report::kSchemaVersion}});
  report.set(member, std::move(value));
  write_file_atomically(file, report.dump({.indent = 2}) + "\n");
}

}  // namespace qround
