#include "verify/finding.h"

#include <utility>

namespace qround::verify {

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::warning:
      return "warning";
    case Severity::error:
      return "error";
  }
  return "";
}

void Findings::add(Finding finding) {
  if (first_.size() < kKept) first_.push_back(std::move(finding));
  ++count_;
}

}  // namespace qround::verify
