// The chat template of a model directory: messages in, the prompt's text out, as transformers'
// apply_chat_template makes it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tokenizer/jinja_template.h"

namespace qround {

// What a template gets besides the messages.
struct ChatTemplateInput {
  Json tools;      // array of JSON schemas; null or empty: `tools` is none
  Json documents;  // array of objects; null: `documents` is none
  Json variables;  // object or null; its members become variables and win over special tokens
  bool add_generation_prompt = false;
  // Ends the text inside the last message, for the model to continue it. Excludes
  // add_generation_prompt.
  bool continue_final_message = false;
  JinjaOptions jinja;  // without a clock, strftime_now formats the local time
};

class ChatTemplate {
 public:
  // The templates of a directory: chat_template.jinja and additional_chat_templates/NAME.jinja,
  // else those of tokenizer_config.json ("chat_template": a string or a list of {name, template}),
  // else chat_template.json. nullopt when there is none at all. `name` picks one of several;
  // without it `default` is used, or `tool_use` when tools are given. Throws Error for an unknown
  // name or a template that cannot be parsed.
  static std::optional<ChatTemplate> find(const std::filesystem::path& directory,
                                          std::string_view name = {});
  // The same, but it is an Error when there is none.
  static ChatTemplate load(const std::filesystem::path& directory, std::string_view name = {});
  // One template file, with the special tokens of `directory` unless that is empty.
  static ChatTemplate from_file(const std::filesystem::path& file,
                                const std::filesystem::path& directory = {});
  // `name` stands in errors; `special_tokens` is an object of strings.
  static ChatTemplate from_source(std::string_view source, std::string_view name,
                                  Json special_tokens = Json::object());

  // `messages` is an array of objects. Members that are null are dropped, and reasoning given under
  // an older name is offered as `reasoning_content` and `thinking`, as transformers does. Throws
  // Error; what the template itself refuses is the message. Any number of threads may render.
  std::string render(const Json& messages, const ChatTemplateInput& input = {}) const;

  // bos_token, eos_token and the others the template can read.
  const Json& special_tokens() const { return special_tokens_; }
  // The source of the template used without tools.
  const std::string& source() const { return templates_.front().source; }

 private:
  struct Named {
    std::string name;
    std::string source;
    JinjaTemplate parsed;
  };

  ChatTemplate(std::vector<Named> templates, Json special_tokens);
  const JinjaTemplate& choose(bool has_tools) const;

  std::vector<Named> templates_;  // the default first; the other one is `tool_use`
  Json special_tokens_;
};

}  // namespace qround
