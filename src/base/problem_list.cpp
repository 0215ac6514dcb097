#include "base/problem_list.h"

#include <fmt/format.h>

namespace qround {
namespace {

// "model-2.safetensors: lm_head.weight: wrong size (expected 8, got 4)"
std::string in_one_line(const Error& problem) {
  std::string line;
  if (!problem.file().empty()) line += problem.file() + ": ";
  if (!problem.tensor().empty()) line += problem.tensor() + ": ";
  line += problem.message();
  if (!problem.expected().empty() && !problem.actual().empty()) {
    line += fmt::format(" (expected {}, got {})", problem.expected(), problem.actual());
  } else if (!problem.expected().empty()) {
    line += fmt::format(" (expected {})", problem.expected());
  } else if (!problem.actual().empty()) {
    line += fmt::format(" ({})", problem.actual());
  }
  return line;
}

}  // namespace

void ProblemList::add(Error problem) {
  ++count_;
  if (first_.size() < kShown) first_.push_back(std::move(problem));
}

void ProblemList::throw_if_any(std::string_view headline) const {
  if (first_.empty()) return;
  if (count_ == 1) throw first_.front();
  std::string text = fmt::format("{}: {} problems", headline, count_);
  for (const Error& problem : first_) text += "\n  - " + in_one_line(problem);
  if (count_ > first_.size()) text += fmt::format("\n  - and {} more", count_ - first_.size());
  Error error(std::move(text), first_.front().kind());
  error.hint(first_.front().hint());
  throw error;
}

}  // namespace qround
