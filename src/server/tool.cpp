#include "server/tool.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/api_error.h"

namespace qround::server {
namespace {

constexpr size_t kMaxNameBytes = 256;

// What the XML form of a call can carry between "<function=" and ">".
bool is_callable(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return static_cast<unsigned char>(c) > ' ' && c != '<' && c != '>';
         });
}

Tool parse_tool(const RequestFields& given) {
  const auto type = given.text("type");
  if (type && *type != "function") {
    const std::string path = given.path_of("type");
    throw ApiError::bad_parameter(path, fmt::format("{} must be \"function\"", path));
  }
  const auto function = given.object("function");
  if (!function) {
    throw ApiError::bad_parameter(given.path_of("function"),
                                  fmt::format("{} is missing", given.path_of("function")));
  }
  Tool tool;
  tool.name = function->text("name").value_or("");
  if (!is_callable(tool.name)) {
    const std::string path = function->path_of("name");
    throw ApiError::bad_parameter(
        path, fmt::format("{} must be 1 to {} characters without blanks, '<' and '>'", path,
                          kMaxNameBytes));
  }
  const auto parameters = function->object("parameters");
  tool.parameters = parameters ? parameters->json() : Json::object();
  tool.definition = given.json();
  return tool;
}

ToolChoice parse_choice(const RequestFields& request, const ToolUse& use) {
  const Json* member = request.find("tool_choice");
  if (member == nullptr) return {};
  const std::string path = request.path_of("tool_choice");
  if (member->is_string()) {
    const std::string& word = member->as_string();
    if (word == "auto") return {};
    if (word == "none") return {.kind = ToolChoice::Kind::none, .name = {}};
    if (word == "required") return {.kind = ToolChoice::Kind::required, .name = {}};
    throw ApiError::bad_parameter(
        path, fmt::format("{} must be auto, none, required or name a function", path));
  }
  const RequestFields choice(*member, path);
  const auto function = choice.object("function");
  const std::string name = function ? function->text("name").value_or("") : "";
  if (use.find(name) == nullptr) {
    throw ApiError::bad_parameter(
        path, fmt::format("{} names \"{}\", which is not among the tools", path, name));
  }
  return {.kind = ToolChoice::Kind::named, .name = name};
}

}  // namespace

const Tool* ToolUse::find(std::string_view name) const {
  const auto found =
      std::find_if(tools.begin(), tools.end(), [&](const Tool& t) { return t.name == name; });
  return found == tools.end() ? nullptr : &*found;
}

ToolUse parse_tool_use(const RequestFields& request, const RequestLimits& limits) {
  ToolUse use;
  if (const Json::Array* list = request.array("tools", limits.max_tools)) {
    for (size_t i = 0; i < list->size(); ++i) {
      Tool tool = parse_tool(RequestFields((*list)[i], element_path(request.path_of("tools"), i)));
      if (use.find(tool.name) != nullptr) {
        throw ApiError::bad_parameter(request.path_of("tools"),
                                      fmt::format("the tool \"{}\" is given twice", tool.name));
      }
      use.tools.push_back(std::move(tool));
    }
  }
  use.choice = parse_choice(request, use);
  if (use.forced() && use.tools.empty()) {
    throw ApiError::bad_parameter("tool_choice", "tool_choice asks for a call, but tools is empty");
  }
  use.parallel = request.boolean("parallel_tool_calls").value_or(true);
  return use;
}

}  // namespace qround::server
