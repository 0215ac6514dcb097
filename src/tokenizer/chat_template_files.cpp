#include "tokenizer/chat_template_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace qround {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::vector<ChatTemplateSource> template_files(const fs::path& directory) {
  std::vector<ChatTemplateSource> found;
  const fs::path main_file = directory / "chat_template.jinja";
  if (is_file(main_file)) found.push_back({"default", read_file(main_file), main_file.string()});
  std::vector<fs::path> others;
  std::error_code ignored;
  for (const auto& entry :
       fs::directory_iterator(directory / "additional_chat_templates", ignored)) {
    if (entry.path().extension() == ".jinja" && is_file(entry.path())) {
      others.push_back(entry.path());
    }
  }
  std::sort(others.begin(), others.end());
  for (const fs::path& path : others) {
    found.push_back({path.stem().string(), read_file(path), path.string()});
  }
  return found;
}

// The member "chat_template" of a JSON file: a string, or a list of {name, template}.
std::vector<ChatTemplateSource> templates_in_json(const fs::path& path) {
  if (!is_file(path)) return {};
  const Json config = Json::parse_file(path);
  const Json* member = config.find("chat_template");
  if (member == nullptr || member->is_null()) return {};
  if (member->is_string()) return {{"default", member->as_string(), path.string()}};
  std::vector<ChatTemplateSource> found;
  try {
    for (const Json& entry : member->as_array()) {
      const std::string& name = entry.at("name").as_string();
      found.push_back(
          {name, entry.at("template").as_string(), fmt::format("{} ({})", path.string(), name)});
    }
  } catch (Error& error) {
    throw Error("chat_template is neither a string nor a list of {name, template}")
        .file(path)
        .actual(error.message());
  }
  return found;
}

// A token is a string, or an object whose "content" is one.
const Json* token_text(const Json& token) {
  const Json* text = token.is_object() ? token.find("content") : &token;
  return text != nullptr && text->is_string() ? text : nullptr;
}

void add_tokens(Json& tokens, const Json& members, bool only_token_names) {
  if (!members.is_object()) return;
  for (const auto& [name, value] : members.as_object()) {
    if (only_token_names && !name.ends_with("_token")) continue;
    if (const Json* text = token_text(value)) tokens.set(name, *text);
  }
}

}  // namespace

std::vector<ChatTemplateSource> find_chat_templates(const fs::path& directory) {
  auto found = template_files(directory);
  if (found.empty()) found = templates_in_json(directory / "tokenizer_config.json");
  if (found.empty()) found = templates_in_json(directory / "chat_template.json");
  return found;
}

Json read_special_tokens(const fs::path& directory) {
  Json tokens = Json::object();
  const fs::path config_file = directory / "tokenizer_config.json";
  const Json config = is_file(config_file) ? Json::parse_file(config_file) : Json::object();
  add_tokens(tokens, config, true);
  const fs::path map_file = directory / "special_tokens_map.json";
  if (config.find("added_tokens_decoder") == nullptr && is_file(map_file)) {
    add_tokens(tokens, Json::parse_file(map_file), true);
  }
  for (const char* group : {"extra_special_tokens", "model_specific_special_tokens"}) {
    if (const Json* named = config.find(group)) add_tokens(tokens, *named, false);
  }
  return tokens;
}

}  // namespace qround
