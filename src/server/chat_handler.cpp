#include "server/chat_handler.h"

#include "server/answer_json.h"
#include "server/answer_loop.h"
#include "server/chat_prompt.h"
#include "server/event_stream.h"
#include "server/generation_request.h"
#include "server/output_constraint.h"

namespace qround::server {
namespace {

const char* finish_reason(FinishReason reason, size_t calls, ToolChoice::Kind kind) {
  switch (reason) {
    case FinishReason::stop_token:
    case FinishReason::stop_requested:
      // OpenAI says "stop" when the request itself named the function.
      return calls > 0 && kind != ToolChoice::Kind::named ? "tool_calls" : "stop";
    case FinishReason::length:
    case FinishReason::context_full:
      return "length";
    case FinishReason::cancelled:
    case FinishReason::failed:
      break;
  }
  return "stop";
}

Json call_json(const ToolCall& call, const std::string& id) {
  return Json::object(
      {{"id", id},
       {"type", "function"},
       {"function", Json::object({{"name", call.name}, {"arguments", call.arguments.dump()}})}});
}

// One choice's message, for an answer in one piece.
struct Message {
  std::string reasoning, content;
  Json::Array calls;
  std::vector<OutputToken> tokens;
  const char* finish_reason = "stop";

  void add(const OutputPart& part) {
    switch (part.kind) {
      case OutputPart::Kind::reasoning:
        reasoning += part.text;
        break;
      case OutputPart::Kind::content:
        content += part.text;
        break;
      case OutputPart::Kind::tool_call:
        calls.push_back(call_json(part.call, random_id("call_")));
        break;
    }
  }
  Json json() const {
    Json message = Json::object({{"role", "assistant"}});
    message.set("content", content.empty() && !calls.empty() ? Json() : Json(content));
    message.set("refusal", Json());
    if (!reasoning.empty()) {
      message.set("reasoning_content", reasoning);
      message.set("reasoning", reasoning);
    }
    if (!calls.empty()) message.set("tool_calls", Json(calls));
    return message;
  }
};

class ChatAnswer {
 public:
  ChatAnswer(const ServerContext& context, HttpExchange& exchange, const ChatRequest& chat)
      : context_(context),
        exchange_(exchange),
        chat_(chat),
        identity_(AnswerIdentity::make("chatcmpl-", context.model.id)) {
    if (chat.tools.offered()) {
      offered_ = std::make_shared<const std::vector<Tool>>(chat.tools.tools);
    }
    submit();
  }

  void run() { chat_.parameters.stream ? stream() : whole(); }

 private:
  void submit();
  TextOptions text_options(const ChatPrompt& prompt) const;
  void whole();
  void stream();
  bool stream_update(EventStream& events, size_t choice, ChoiceUpdate& update);
  std::vector<Json> deltas(size_t choice, const std::vector<OutputPart>& parts);
  Json chunk(size_t choice, Json delta, Json finish, Json logprobs) const;
  Json logprobs(const std::vector<OutputToken>& tokens) const;
  void count(size_t choice, const ChoiceUpdate& update) {
    if (update.finish) usage_.add(update.finish->usage, choice == 0);
  }
  const char* reason_of(size_t choice, const Finish& finish) const {
    return finish_reason(finish.reason, choices_[choice].calls(), chat_.tools.choice.kind);
  }

  const ServerContext& context_;
  HttpExchange& exchange_;
  const ChatRequest& chat_;
  const AnswerIdentity identity_;
  // Shared with the engine's thread, which may look at it a moment longer than this answer lives.
  std::shared_ptr<const std::vector<Tool>> offered_;
  std::vector<Choice> choices_;
  AnswerUsage usage_;
  // While streaming: tokens whose log-probabilities wait for the next chunk; calls told so far.
  std::vector<std::vector<OutputToken>> untold_;
  std::vector<int64_t> calls_told_;
};

TextOptions ChatAnswer::text_options(const ChatPrompt& prompt) const {
  TextOptions text;
  text.stops = chat_.parameters.stops;
  text.parts = {
      .in_reasoning = prompt.in_reasoning, .tools = offered_, .begun_call = prompt.begun_call};
  const bool one_call = !chat_.tools.parallel || chat_.tools.choice.kind == ToolChoice::Kind::named;
  if (chat_.tools.offered() && one_call) text.most_calls = 1;
  return text;
}

void ChatAnswer::submit() {
  const ChatPrompt prompt = chat_prompt(context_.model, chat_);
  Request request = generation_request(context_.model, chat_.parameters, prompt.tokens, "messages");
  request.top_logprobs = chat_.top_logprobs;
  const uint64_t seed = answer_seed(chat_.parameters);
  for (int64_t i = 0; i < chat_.parameters.n; ++i) {
    request.sampling.seed = seed + static_cast<uint64_t>(i);
    request.constrain = chat_constraint(context_.model, chat_, prompt);
    choices_.emplace_back(context_.model, request, text_options(prompt));
  }
  untold_.resize(choices_.size());
  calls_told_.resize(choices_.size());
}

void ChatAnswer::whole() {
  std::vector<Message> messages(choices_.size());
  const AnswerCallbacks callbacks = {.update =
                                         [&](size_t choice, ChoiceUpdate& update) {
                                           Message& message = messages[choice];
                                           for (const OutputPart& part : update.parts)
                                             message.add(part);
                                           if (chat_.top_logprobs) {
                                             for (OutputToken& token : update.tokens)
                                               message.tokens.push_back(std::move(token));
                                           }
                                           if (update.finish)
                                             message.finish_reason =
                                                 reason_of(choice, *update.finish);
                                           count(choice, update);
                                           return true;
                                         },
                                     .idle = [] {}};
  const AnswerEnd end = run_choices(choices_, exchange_, context_.metrics, callbacks);
  if (end == AnswerEnd::client_gone) return;
  if (end == AnswerEnd::cut) throw ApiError(503, "the server is stopping");
  Json answer = identity_.head("chat.completion");
  Json::Array choices;
  for (size_t i = 0; i < messages.size(); ++i) {
    choices.push_back(Json::object({{"index", static_cast<int64_t>(i)},
                                    {"message", messages[i].json()},
                                    {"logprobs", logprobs(messages[i].tokens)},
                                    {"finish_reason", messages[i].finish_reason}}));
  }
  answer.set("choices", Json(std::move(choices)));
  answer.set("usage", usage_.json());
  answer.set("timings", usage_.timings());
  exchange_.respond({.body = answer.dump()});
}

Json ChatAnswer::logprobs(const std::vector<OutputToken>& tokens) const {
  if (!chat_.top_logprobs) return {};
  return Json::object({{"content", chat_logprobs(context_.model.tokenizer, tokens)}});
}

Json ChatAnswer::chunk(size_t choice, Json delta, Json finish, Json logprobs) const {
  Json out = identity_.head("chat.completion.chunk");
  out.set("choices", Json::array({Json::object({{"index", static_cast<int64_t>(choice)},
                                                {"delta", std::move(delta)},
                                                {"logprobs", std::move(logprobs)},
                                                {"finish_reason", std::move(finish)}})}));
  if (chat_.parameters.include_usage) out.set("usage", Json());
  return out;
}

// A call comes as its name and then its arguments, as OpenAI streams it.
std::vector<Json> ChatAnswer::deltas(size_t choice, const std::vector<OutputPart>& parts) {
  std::vector<Json> out;
  for (const OutputPart& part : parts) {
    switch (part.kind) {
      case OutputPart::Kind::reasoning:
        out.push_back(Json::object({{"reasoning_content", part.text}, {"reasoning", part.text}}));
        break;
      case OutputPart::Kind::content:
        out.push_back(Json::object({{"content", part.text}}));
        break;
      case OutputPart::Kind::tool_call: {
        const int64_t index = calls_told_[choice]++;
        Json call = call_json(part.call, random_id("call_"));
        const Json arguments = call.at("function").at("arguments");
        call.set("index", index);
        call.set("function", Json::object({{"name", part.call.name}, {"arguments", ""}}));
        out.push_back(Json::object({{"tool_calls", Json::array({std::move(call)})}}));
        out.push_back(Json::object(
            {{"tool_calls",
              Json::array({Json::object(
                  {{"index", index}, {"function", Json::object({{"arguments", arguments}})}})})}}));
        break;
      }
    }
  }
  return out;
}

bool ChatAnswer::stream_update(EventStream& events, size_t choice, ChoiceUpdate& update) {
  count(choice, update);
  std::vector<OutputToken>& untold = untold_[choice];
  if (chat_.top_logprobs) {
    for (OutputToken& token : update.tokens) untold.push_back(std::move(token));
  }
  const auto take_logprobs = [&]() -> Json {
    if (untold.empty()) return {};
    Json out = logprobs(untold);
    untold.clear();
    return out;
  };
  for (Json& delta : deltas(choice, update.parts)) {
    if (!events.send(chunk(choice, std::move(delta), {}, take_logprobs()))) return false;
  }
  if (!update.finish) return true;
  return events.send(
      chunk(choice, Json::object(), reason_of(choice, *update.finish), take_logprobs()));
}

void ChatAnswer::stream() {
  EventStream events(exchange_);
  for (size_t i = 0; i < choices_.size(); ++i) {
    events.send(chunk(i, Json::object({{"role", "assistant"}, {"content", ""}}), {}, {}));
  }
  const AnswerCallbacks callbacks = {
      .update = [&](size_t choice,
                    ChoiceUpdate& update) { return stream_update(events, choice, update); },
      .idle = [&] { events.keep_alive(); }};
  try {
    const AnswerEnd end = run_choices(choices_, exchange_, context_.metrics, callbacks);
    if (end == AnswerEnd::client_gone) return exchange_.close_after();
    if (end == AnswerEnd::cut) throw ApiError(503, "the server is stopping");
    if (chat_.parameters.include_usage) {
      Json last = identity_.head("chat.completion.chunk");
      last.set("choices", Json::array());
      last.set("usage", usage_.json());
      last.set("timings", usage_.timings());
      events.send(last);
    }
  } catch (const ApiError& error) {
    events.send(error.json());
  }
  events.done();
}

}  // namespace

void handle_chat(const ServerContext& context, HttpExchange& exchange, const Json& body) {
  const ChatRequest chat = parse_chat_request(body, context.model.sampling, context.limits);
  check_model(context, chat.parameters.model);
  ChatAnswer(context, exchange, chat).run();
}

}  // namespace qround::server
