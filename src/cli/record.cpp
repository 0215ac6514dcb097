#include "cli/record.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/report.h"

namespace qround {

void record_results(const std::filesystem::path& directory, const std::string& named,
                    std::string_view member, Json results) {
  if (!named.empty()) return add_to_report(named, member, std::move(results));
  const std::filesystem::path own = directory / kReportFileName;
  std::error_code ignored;
  if (!std::filesystem::exists(own, ignored)) return;
  try {
    add_to_report(own, member, std::move(results));
  } catch (const Error& error) {
    fmt::print(stderr, "qround: the report was left as it is: {}\n", error.message());
  }
}

}  // namespace qround
