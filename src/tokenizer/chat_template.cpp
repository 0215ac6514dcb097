#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "base/file.h"
#include "tokenizer/chat_template_files.h"
#include "tokenizer/jinja_text_search.h"

namespace qround {
namespace {

namespace fs = std::filesystem;

// Marks where a message to be continued ends; the blank tells whether the template trimmed the
// message.
constexpr std::string_view kContinueMark = "CONTINUE_FINAL_MESSAGE_TAG ";

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  return parts;
}

// A message may carry its reasoning under any of these; templates read the first, or `thinking`.
constexpr auto kReasoningNames =
    std::to_array<std::string_view>({"reasoning_content", "thinking", "reasoning"});

Json prepare_message(const Json& message) {
  if (!message.is_object()) {
    throw Error("a chat message is not an object").actual(message.type_name());
  }
  Json reasoning;
  for (std::string_view name : kReasoningNames) {
    const Json* given = message.find(name);
    if (reasoning.is_null() && given != nullptr) reasoning = *given;
  }
  Json prepared = Json::object();
  if (!reasoning.is_null()) prepared.set("thinking", reasoning);
  for (const auto& [key, value] : message.as_object()) {
    if (!value.is_null()) prepared.set(key, value);
  }
  if (!reasoning.is_null()) prepared.set("reasoning_content", reasoning);
  return prepared;
}

Json prepare_messages(const Json& messages) {
  if (!messages.is_array()) throw Error("messages is not an array").actual(messages.type_name());
  Json prepared = Json::array();
  for (const Json& message : messages.as_array()) {
    prepared.as_array().push_back(prepare_message(message));
  }
  return prepared;
}

void require_objects(const Json& list, std::string_view what) {
  if (!list.is_array())
    throw Error(fmt::format("{} is not an array", what)).actual(list.type_name());
  for (const Json& item : list.as_array()) {
    if (!item.is_object()) {
      throw Error(fmt::format("{} holds something that is not an object", what))
          .actual(item.type_name());
    }
  }
}

bool is_nothing(const Json& list) {
  return list.is_null() || (list.is_array() && list.as_array().empty());
}

// Puts the mark behind the text of the last message and returns that text.
std::string mark_final_message(Json& messages) {
  if (messages.as_array().empty()) throw Error("there is no message to continue");
  JsonObject& message = messages.as_array().back().as_object();
  Json* content = message.find("content");
  if (content != nullptr && content->is_array()) {
    Json* last_text = nullptr;
    for (Json& part : content->as_array()) {
      if (part.is_object()) {
        if (Json* text = part.as_object().find("text")) last_text = text;
      }
    }
    content = last_text;
  }
  if (content == nullptr || !content->is_string()) {
    throw Error("the last message has no text to continue");
  }
  std::string text = content->as_string();
  *content = Json(text + std::string(kContinueMark));
  return text;
}

std::string cut_at_mark(const std::string& rendered, const std::string& final_text) {
  using jinja::Side;
  const std::string_view bare_mark = jinja::strip(kContinueMark, Side::both);
  const size_t mark = rendered.rfind(bare_mark);
  if (mark == std::string::npos ||
      rendered.find(jinja::strip(final_text, Side::both)) == std::string::npos) {
    throw Error("the last message cannot be continued: the template changes or drops it");
  }
  const std::string_view kept = std::string_view(rendered).substr(0, mark);
  const bool untrimmed = std::string_view(rendered).substr(mark).starts_with(kContinueMark);
  return std::string(untrimmed ? kept : jinja::strip(kept, Side::right));
}

std::string names_of(const std::vector<ChatTemplateSource>& sources) {
  std::string names;
  for (const auto& source : sources) names += (names.empty() ? "" : ", ") + source.name;
  return names;
}

}  // namespace

ChatTemplate::ChatTemplate(std::vector<Named> templates, Json special_tokens)
    : templates_(std::move(templates)), special_tokens_(std::move(special_tokens)) {}

std::optional<ChatTemplate> ChatTemplate::find(const fs::path& directory, std::string_view name) {
  const auto sources = find_chat_templates(directory);
  if (sources.empty()) return std::nullopt;
  std::vector<Named> chosen;
  const auto choose = [&](std::string_view wanted) {
    for (const auto& source : sources) {
      if (source.name != wanted) continue;
      chosen.push_back({source.name, source.text, JinjaTemplate::parse(source.text, source.label)});
      return true;
    }
    return false;
  };
  if (!choose(name.empty() ? "default" : name)) {
    throw Error(name.empty() ? "the model has several chat templates and no default one"
                             : fmt::format("the model has no chat template named \"{}\"", name))
        .file(directory)
        .hint("name one of: " + names_of(sources));
  }
  if (name.empty()) choose("tool_use");
  return ChatTemplate(std::move(chosen), read_special_tokens(directory));
}

ChatTemplate ChatTemplate::load(const fs::path& directory, std::string_view name) {
  if (auto found = find(directory, name)) return std::move(*found);
  throw Error("the model has no chat template")
      .file(directory)
      .expected("chat_template.jinja, or \"chat_template\" in tokenizer_config.json");
}

ChatTemplate ChatTemplate::from_file(const fs::path& file, const fs::path& directory) {
  return from_source(read_file(file), file.string(),
                     directory.empty() ? Json::object() : read_special_tokens(directory));
}

ChatTemplate ChatTemplate::from_source(std::string_view source, std::string_view name,
                                       Json special_tokens) {
  std::vector<Named> templates;
  templates.push_back({"default", std::string(source), JinjaTemplate::parse(source, name)});
  return ChatTemplate(std::move(templates), std::move(special_tokens));
}

const JinjaTemplate& ChatTemplate::choose(bool has_tools) const {
  return has_tools ? templates_.back().parsed : templates_.front().parsed;
}

std::string ChatTemplate::render(const Json& messages, const ChatTemplateInput& input) const {
  if (input.continue_final_message && input.add_generation_prompt) {
    throw Error("a message cannot be continued and followed by a generation prompt at once");
  }
  Json prepared = prepare_messages(messages);
  std::string final_text;
  if (input.continue_final_message) final_text = mark_final_message(prepared);
  const bool has_tools = !is_nothing(input.tools);
  if (has_tools) require_objects(input.tools, "tools");
  if (!input.documents.is_null()) require_objects(input.documents, "documents");

  Json variables = special_tokens_;
  if (!input.variables.is_null()) {
    for (const auto& [name, value] : input.variables.as_object()) variables.set(name, value);
  }
  variables.set("messages", std::move(prepared));
  variables.set("tools", has_tools ? input.tools : Json());
  variables.set("documents", input.documents);
  variables.set("add_generation_prompt", input.add_generation_prompt);

  JinjaOptions options = input.jinja;
  if (!options.clock) options.clock = local_time;
  const std::string rendered = choose(has_tools).render(variables, options);
  return input.continue_final_message ? cut_at_mark(rendered, final_text) : rendered;
}

}  // namespace qround
