#include "server/completion_handler.h"

#include "server/answer_json.h"
#include "server/answer_loop.h"
#include "server/completion_request.h"
#include "server/event_stream.h"
#include "server/generation_request.h"
#include "server/output_constraint.h"

namespace qround::server {
namespace {

const char* finish_reason(FinishReason reason) {
  const bool full = reason == FinishReason::length || reason == FinishReason::context_full;
  return full ? "length" : "stop";
}

// "logprobs" of a completion: lists of equal length, one entry per token.
class LogprobLists {
 public:
  void add(const Tokenizer& tokenizer, const OutputToken& token) {
    const std::string text = token_text(tokenizer, token.token);
    tokens_.emplace_back(text);
    logprobs_.emplace_back(finite_logprob(token.logprob));
    Json top = Json::object();
    for (const TokenLogprob& other : token.top) {
      top.set(token_text(tokenizer, other.token), finite_logprob(other.logprob));
    }
    top_.push_back(std::move(top));
    offsets_.emplace_back(offset_);
    offset_ += static_cast<int64_t>(text.size());
  }
  bool empty() const { return tokens_.empty(); }
  // What was added since the last call.
  Json take() {
    return Json::object({{"tokens", Json(std::exchange(tokens_, {}))},
                         {"token_logprobs", Json(std::exchange(logprobs_, {}))},
                         {"top_logprobs", Json(std::exchange(top_, {}))},
                         {"text_offset", Json(std::exchange(offsets_, {}))}});
  }

 private:
  Json::Array tokens_, logprobs_, top_, offsets_;
  int64_t offset_ = 0;
};

struct Text {
  std::string text;
  LogprobLists logprobs;
  const char* finish_reason = "length";
};

class CompletionAnswer {
 public:
  CompletionAnswer(const ServerContext& context, HttpExchange& exchange,
                   const CompletionRequest& completion)
      : context_(context),
        exchange_(exchange),
        completion_(completion),
        identity_(AnswerIdentity::make("cmpl-", context.model.id)) {
    const bool generates = completion.parameters.max_tokens != 0;
    const uint64_t seed = answer_seed(completion.parameters);
    for (const CompletionPrompt& prompt : completion.prompts) add_prompt(prompt, generates, seed);
  }

  void run() { completion_.parameters.stream ? stream() : whole(); }

 private:
  void add_prompt(const CompletionPrompt& prompt, bool generates, uint64_t seed);
  void whole();
  void stream();
  void take(size_t choice, ChoiceUpdate& update);
  Json choice_json(size_t choice, Json finish);
  Json answer(Json::Array choices) const {
    Json out = identity_.head("text_completion");
    out.set("choices", Json(std::move(choices)));
    return out;
  }

  const ServerContext& context_;
  HttpExchange& exchange_;
  const CompletionRequest& completion_;
  const AnswerIdentity identity_;
  std::vector<Choice> choices_;
  std::vector<Text> texts_;  // of each choice, what was not told yet
  AnswerUsage usage_;
};

void CompletionAnswer::add_prompt(const CompletionPrompt& prompt, bool generates, uint64_t seed) {
  const Tokenizer& tokenizer = context_.model.tokenizer;
  const auto* text = std::get_if<std::string>(&prompt);
  const std::vector<int32_t> ids =
      text != nullptr ? tokenizer.encode(*text) : std::get<std::vector<int32_t>>(prompt);
  for (int64_t i = 0; i < completion_.parameters.n; ++i) {
    texts_.emplace_back();
    if (completion_.echo) texts_.back().text = text != nullptr ? *text : tokenizer.decode(ids);
    if (!generates) continue;
    Request request = generation_request(context_.model, completion_.parameters, ids, "prompt");
    request.top_logprobs = completion_.logprobs;
    request.sampling.seed = seed + static_cast<uint64_t>(i);
    request.constrain = format_constraint(context_.model, completion_.parameters);
    choices_.emplace_back(context_.model, std::move(request),
                          TextOptions{.stops = completion_.parameters.stops, .parts = {}});
  }
}

void CompletionAnswer::take(size_t choice, ChoiceUpdate& update) {
  Text& text = texts_[choice];
  for (const OutputPart& part : update.parts) text.text += part.text;
  if (completion_.logprobs) {
    for (const OutputToken& token : update.tokens) {
      text.logprobs.add(context_.model.tokenizer, token);
    }
  }
  if (!update.finish) return;
  text.finish_reason = finish_reason(update.finish->reason);
  usage_.add(update.finish->usage, choice % static_cast<size_t>(completion_.parameters.n) == 0);
}

Json CompletionAnswer::choice_json(size_t choice, Json finish) {
  Text& text = texts_[choice];
  return Json::object({{"index", static_cast<int64_t>(choice)},
                       {"text", std::exchange(text.text, {})},
                       {"logprobs", text.logprobs.empty() ? Json() : text.logprobs.take()},
                       {"finish_reason", std::move(finish)}});
}

void CompletionAnswer::whole() {
  const AnswerCallbacks callbacks = {.update =
                                         [&](size_t choice, ChoiceUpdate& update) {
                                           take(choice, update);
                                           return true;
                                         },
                                     .idle = [] {}};
  const AnswerEnd end = run_choices(choices_, exchange_, context_.metrics, callbacks);
  if (end == AnswerEnd::client_gone) return;
  if (end == AnswerEnd::cut) throw ApiError(503, "the server is stopping");
  Json::Array choices;
  for (size_t i = 0; i < texts_.size(); ++i) {
    choices.push_back(choice_json(i, texts_[i].finish_reason));
  }
  Json out = answer(std::move(choices));
  out.set("usage", usage_.json());
  out.set("timings", usage_.timings());
  exchange_.respond({.body = out.dump()});
}

void CompletionAnswer::stream() {
  EventStream events(exchange_);
  const auto tell = [&](size_t choice, Json finish) {
    return events.send(answer({choice_json(choice, std::move(finish))}));
  };
  if (completion_.echo) {
    for (size_t i = 0; i < texts_.size(); ++i) tell(i, choices_.empty() ? Json("length") : Json());
  }
  const AnswerCallbacks callbacks = {.update =
                                         [&](size_t choice, ChoiceUpdate& update) {
                                           take(choice, update);
                                           if (update.finish)
                                             return tell(choice, texts_[choice].finish_reason);
                                           return texts_[choice].text.empty() || tell(choice, {});
                                         },
                                     .idle = [&] { events.keep_alive(); }};
  try {
    const AnswerEnd end = run_choices(choices_, exchange_, context_.metrics, callbacks);
    if (end == AnswerEnd::client_gone) return exchange_.close_after();
    if (end == AnswerEnd::cut) throw ApiError(503, "the server is stopping");
    if (completion_.parameters.include_usage) {
      Json last = answer({});
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

void handle_completion(const ServerContext& context, HttpExchange& exchange, const Json& body) {
  const CompletionRequest completion =
      parse_completion_request(body, context.model.sampling, context.limits);
  check_model(context, completion.parameters.model);
  CompletionAnswer(context, exchange, completion).run();
}

}  // namespace qround::server
