#include "cli/json_lines.h"

#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "base/error.h"

namespace qround {

int run_json_lines(const std::function<Json(const Json&)>& answer) {
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json result;
    try {
      result = answer(Json::parse(line));
    } catch (const Error& error) {
      result = Json::object({{"error", error.what()}});
    }
    fmt::print("{}\n", result.dump());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace qround
