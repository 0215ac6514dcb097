// The functions a request offers to the model and how it may use them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/request_fields.h"
#include "server/request_limits.h"

namespace qround::server {

struct Tool {
  std::string name;
  Json parameters;  // the schema of its arguments, an object; may be empty
  Json definition;  // as given; what the chat template shows
};

struct ToolChoice {
  enum class Kind { automatic, none, required, named } kind = Kind::automatic;
  std::string name;  // with `named`
};

struct ToolUse {
  std::vector<Tool> tools;
  ToolChoice choice;
  bool parallel = true;  // several calls in one answer

  // Whether the answer may contain calls.
  bool offered() const { return !tools.empty() && choice.kind != ToolChoice::Kind::none; }
  // A call is certain, whatever the model would rather do.
  bool forced() const {
    return choice.kind == ToolChoice::Kind::required || choice.kind == ToolChoice::Kind::named;
  }
  const Tool* find(std::string_view name) const;  // nullptr: no such tool
};

// Reads tools, tool_choice and parallel_tool_calls. Throws ApiError.
ToolUse parse_tool_use(const RequestFields& request, const RequestLimits& limits);

}  // namespace qround::server
