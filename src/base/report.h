// report.json: what a job did, for people and for later programs (docs/report.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace qround {

inline constexpr std::string_view kReportFileName = "report.json";

// How far quantized weights are from the source's: |W - W'| / |W|, Frobenius norms, of all linear
// maps of one kind.
struct ErrorSummary {
  std::string kind;
  int64_t block = -1;  // of the text part; -1: all blocks together
  int64_t count = 0;
  double min = 0, mean = 0, max = 0;
};

struct TensorError {
  std::string module;
  double relative_error = 0;
};

struct Report {
  static constexpr int kSchemaVersion = 2;  // counts up when a member changes its meaning or goes

  std::string tool_version;
  std::string source;                                     // the directory's last name, not its path
  std::string source_config_sha256, source_index_sha256;  // the latter empty: no index
  std::vector<std::pair<std::string, Json>> recipe;       // what, besides the source, decides bytes
  int64_t linears_quantized = 0, linears = 0;
  int64_t mtp_linears_quantized = 0, mtp_linears = 0;
  int64_t tensors_before = 0, tensors_after = 0;
  uint64_t bytes_before = 0, bytes_after = 0;  // of tensor data
  Json tuning;  // of learned rounding: calibration data and one record a block; null: none
  std::vector<ErrorSummary> errors;
  std::vector<ErrorSummary> errors_by_block;
  std::vector<TensorError> worst;                       // largest errors first, at most ten
  std::vector<std::pair<std::string, double>> seconds;  // by phase
  int threads = 0;
  uint64_t peak_memory_bytes = 0;      // anonymous and shared, sampled; file pages apart
  uint64_t peak_gpu_memory_bytes = 0;  // of a GPU's, by this run; 0: nothing was tuned there
  Json verify;  // what the rules make of the result: verify::to_json of their outcome

  // Of `verify`, which has to be there.
  int64_t rules_checked() const { return verify.at("checked").as_int(); }
  int64_t rule_errors() const { return verify.at("errors").as_int(); }
  int64_t rule_warnings() const { return verify.at("warnings").as_int(); }
};

// As errors stand in reports: beyond six digits they depend on the processor's vectors. Zero for
// what is not a number.
double six_digits(double value);

Json to_json(const Report& report);
void write_report(const std::filesystem::path& directory, const Report& report);

// Throws Error when the file is no report of this schema.
Json read_report(const std::filesystem::path& file);

// Sets a member of the report in `file`, which may not exist yet, and leaves the others as they
// are. Throws Error when the file is no report of this schema.
void add_to_report(const std::filesystem::path& file, std::string_view member, Json value);

}  // namespace qround
