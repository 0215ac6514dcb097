#include "server/chat_prompt.h"

#include "server/api_error.h"
#include "server/tool_call_text.h"

namespace qround::server {
namespace {

std::string rendered(const ServedModel& model, const ChatRequest& chat) {
  if (!model.chat_template) {
    throw ApiError(400, "this model has no chat template; use /v1/completions");
  }
  ChatTemplateInput input;
  input.variables = chat.template_variables;
  // A call that is forced comes at once.
  if (chat.tools.forced()) input.variables.set("enable_thinking", false);
  if (chat.tools.offered()) {
    Json::Array tools;
    for (const Tool& tool : chat.tools.tools) tools.push_back(tool.definition);
    input.tools = Json(std::move(tools));
  }
  input.add_generation_prompt = chat.add_generation_prompt;
  input.continue_final_message = chat.continue_final_message;
  try {
    return model.chat_template->render(chat.messages, input);
  } catch (const Error& error) {
    throw ApiError::bad_parameter("messages", "chat template: " + error.message());
  }
}

bool ends_in_open_reasoning(std::string_view prompt) {
  const size_t end = prompt.find_last_not_of(" \t\r\n");
  return end != std::string_view::npos && prompt.substr(0, end + 1).ends_with("<think>");
}

// With one function to call its name is certain as well.
std::string beginning_of_call(const ToolUse& tools) {
  std::string text = std::string(kToolCallBegin) + "\n<function=";
  if (tools.choice.kind == ToolChoice::Kind::named) return text + tools.choice.name + ">\n";
  if (tools.tools.size() == 1) return text + tools.tools.front().name + ">\n";
  return text;
}

}  // namespace

ChatPrompt chat_prompt(const ServedModel& model, const ChatRequest& chat) {
  std::string text = rendered(model, chat);
  ChatPrompt prompt;
  prompt.in_reasoning = chat.add_generation_prompt && ends_in_open_reasoning(text);
  if (chat.tools.forced()) {
    if (prompt.in_reasoning) text += "\n</think>\n\n";
    prompt.in_reasoning = false;
    prompt.begun_call = beginning_of_call(chat.tools);
    text += prompt.begun_call;
  }
  prompt.tokens = model.tokenizer.encode(text);
  return prompt;
}

}  // namespace qround::server
