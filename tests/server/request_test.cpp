// Reading requests: what is accepted, and the `param` of each refusal.
#include <gtest/gtest.h>

#include "server/api_error.h"
#include "server/chat_request.h"
#include "server/completion_request.h"

namespace qround::server {
namespace {

const SamplingOptions kDefaults = {.temperature = 0.7F, .top_k = 20, .top_p = 0.95F};

ChatRequest chat(const std::string& body) {
  return parse_chat_request(Json::parse(body), kDefaults, RequestLimits());
}

// A chat request of one user message and `more` members.
std::string with(const std::string& more) {
  return R"({"messages": [{"role": "user", "content": "Hi"}], )" + more + "}";
}

template <typename F>
std::string refused_param(F&& parse) {
  try {
    parse();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 400);
    EXPECT_EQ(error.json().at("error").at("type").as_string(), "invalid_request_error");
    return error.param();
  }
  return "(accepted)";
}

std::string refused(const std::string& body) {
  return refused_param([&] { chat(body); });
}

TEST(ChatRequest, WhatIsNotGivenComesFromTheDefaults) {
  const ChatRequest request = chat(with(R"("temperature": 0, "unknown": [1, {}])"));
  EXPECT_EQ(request.parameters.sampling.temperature, 0);
  EXPECT_EQ(request.parameters.sampling.top_k, 20);
  EXPECT_FALSE(request.parameters.max_tokens);
  EXPECT_FALSE(request.parameters.stream);
  EXPECT_EQ(request.parameters.n, 1);
  EXPECT_TRUE(request.tools.parallel);
}

TEST(ChatRequest, NullCountsAsAbsent) {
  const ChatRequest request =
      chat(with(R"("temperature": null, "stop": null, "tools": null, "n": null)"));
  EXPECT_FLOAT_EQ(request.parameters.sampling.temperature, 0.7F);
}

TEST(ChatRequest, AllParametersAreRead) {
  const ChatRequest request = chat(with(R"("model": "m", "max_tokens": 5,
      "max_completion_tokens": 6, "top_p": 0.5, "top_k": -1, "min_p": 0.1, "seed": -3,
      "stop": ["a", "b"], "presence_penalty": 1, "frequency_penalty": -1,
      "repetition_penalty": 1.1, "logit_bias": {"5": -100, "7": 1.5}, "logprobs": true,
      "top_logprobs": 3, "n": 2, "stream": true, "stream_options": {"include_usage": true},
      "chat_template_kwargs": {"enable_thinking": false})"));
  EXPECT_EQ(request.parameters.model, "m");
  EXPECT_EQ(request.parameters.max_tokens, 6);
  EXPECT_EQ(request.parameters.sampling.top_k, 0);
  EXPECT_EQ(request.parameters.sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_TRUE(request.parameters.seed_given);
  EXPECT_EQ(request.parameters.stops, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(request.parameters.biases.size(), 2U);
  EXPECT_EQ(request.parameters.biases[1].token, 7);
  EXPECT_EQ(request.top_logprobs, 3);
  EXPECT_TRUE(request.parameters.include_usage);
  EXPECT_FALSE(request.template_variables.at("enable_thinking").as_bool());
}

TEST(ChatRequest, WrongTypesAndRangesNameTheirMember) {
  EXPECT_EQ(refused("[]"), "");
  EXPECT_EQ(refused("{}"), "messages");
  EXPECT_EQ(refused(R"({"messages": []})"), "messages");
  EXPECT_EQ(refused(R"({"messages": "Hi"})"), "messages");
  EXPECT_EQ(refused(R"({"messages": ["Hi"]})"), "messages[0]");
  EXPECT_EQ(refused(R"({"messages": [{"role": "king", "content": "Hi"}]})"), "messages[0].role");
  EXPECT_EQ(refused(R"({"messages": [{"role": "user"}]})"), "messages[0].content");
  EXPECT_EQ(refused(R"({"messages": [{"role": "user", "content": 7}]})"), "messages[0].content");
  EXPECT_EQ(refused(with(R"("temperature": "hot")")), "temperature");
  EXPECT_EQ(refused(with(R"("temperature": -1)")), "temperature");
  EXPECT_EQ(refused(with(R"("top_p": 1.5)")), "top_p");
  EXPECT_EQ(refused(with(R"("max_tokens": 0)")), "max_tokens");
  EXPECT_EQ(refused(with(R"("max_tokens": 1.5)")), "max_tokens");
  EXPECT_EQ(refused(with(R"("max_tokens": 1e300)")), "max_tokens");
  EXPECT_EQ(refused(with(R"("n": 1000000000)")), "n");
  EXPECT_EQ(refused(with(R"("n": 0)")), "n");
  EXPECT_EQ(refused(with(R"("stream": 1)")), "stream");
  EXPECT_EQ(refused(with(R"("stop": 1)")), "stop");
  EXPECT_EQ(refused(with(R"("stop": ["a", 1])")), "stop[1]");
  EXPECT_EQ(refused(with(R"("logit_bias": {"x": 1})")), "logit_bias");
  EXPECT_EQ(refused(with(R"("logit_bias": {"1": 101})")), "logit_bias.1");
  EXPECT_EQ(refused(with(R"("top_logprobs": 3)")), "top_logprobs");
  EXPECT_EQ(refused(with(R"("logprobs": true, "top_logprobs": 21)")), "top_logprobs");
  EXPECT_EQ(refused(with(R"("response_format": {"type": "xml"})")), "response_format.type");
  EXPECT_EQ(refused(with(R"("response_format": {"type": "json_schema"})")),
            "response_format.json_schema.schema");
  EXPECT_EQ(refused(with(R"("chat_template_kwargs": {"messages": []})")),
            "chat_template_kwargs.messages");
}

TEST(ChatRequest, AListOfManyStopsIsRefused) {
  std::string stops = "\"a\"";
  for (int i = 0; i < 100'000; ++i) stops += ",\"a\"";
  EXPECT_EQ(refused(with("\"stop\": [" + stops + "]")), "stop");
}

TEST(ChatRequest, TextPartsAreJoinedAndImagesRefusedByName) {
  const ChatRequest request = chat(
      R"({"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content":
          [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]})");
  EXPECT_EQ(request.messages.as_array()[0].at("role").as_string(), "system");
  EXPECT_EQ(request.messages.as_array()[1].at("content").as_string(), "ab");
  EXPECT_EQ(refused(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                        {"type": "image_url", "image_url": {"url": "x"}}]}]})"),
            "messages[0].content[1].type");
}

TEST(ChatRequest, AnswersGivenBackKeepReasoningAndCalls) {
  const ChatRequest request = chat(
      R"({"messages": [{"role": "user", "content": "Hi"},
          {"role": "assistant", "content": null, "reasoning": "hm", "tool_calls": [{"id": "1",
           "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
          {"role": "tool", "tool_call_id": "1", "content": "2"}]})");
  const Json& said = request.messages.as_array()[1];
  EXPECT_EQ(said.at("reasoning_content").as_string(), "hm");
  EXPECT_EQ(said.at("tool_calls").as_array()[0].at("function").at("arguments").dump(),
            R"({"a": 1})");
  EXPECT_EQ(refused(R"({"messages": [{"role": "assistant", "tool_calls": [{"function":
                        {"name": "f", "arguments": "[1]"}}]}]})"),
            "messages[0].tool_calls[0].function.arguments");
}

TEST(ChatRequest, ToolsAndTheirChoice) {
  const std::string tools =
      R"("tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}])";
  EXPECT_TRUE(chat(with(tools)).tools.offered());
  EXPECT_FALSE(chat(with(tools + R"(, "tool_choice": "none")")).tools.offered());
  EXPECT_TRUE(chat(with(tools + R"(, "tool_choice": "required")")).tools.forced());
  const ChatRequest named =
      chat(with(tools + R"(, "tool_choice": {"type": "function", "function": {"name": "f"}})"));
  EXPECT_EQ(named.tools.choice.name, "f");
  EXPECT_EQ(refused(with(tools + R"(, "tool_choice": "maybe")")), "tool_choice");
  EXPECT_EQ(refused(with(tools + R"(, "tool_choice": {"function": {"name": "g"}})")),
            "tool_choice");
  EXPECT_EQ(refused(with(R"("tool_choice": "required")")), "tool_choice");
  EXPECT_EQ(refused(with(R"("tools": [{"type": "function", "function": {"name": "a b"}}])")),
            "tools[0].function.name");
}

CompletionRequest completion(const std::string& body) {
  return parse_completion_request(Json::parse(body), kDefaults, RequestLimits());
}

TEST(CompletionRequest, PromptsOfAllForms) {
  EXPECT_EQ(std::get<std::string>(completion(R"({"prompt": "a"})").prompts.at(0)), "a");
  EXPECT_EQ(completion(R"({"prompt": ["a", "b"]})").prompts.size(), 2U);
  EXPECT_EQ(std::get<1>(completion(R"({"prompt": [1, 2]})").prompts.at(0)).size(), 2U);
  EXPECT_EQ(completion(R"({"prompt": [[1], [2], "c"]})").prompts.size(), 3U);
  EXPECT_EQ(completion(R"({"prompt": "a"})").parameters.max_tokens, 16);
}

TEST(CompletionRequest, RefusalsNameTheirMember) {
  const auto refusal = [](const char* body) { return refused_param([&] { completion(body); }); };
  EXPECT_EQ(refusal("{}"), "prompt");
  EXPECT_EQ(refusal(R"({"prompt": {}})"), "prompt");
  EXPECT_EQ(refusal(R"({"prompt": []})"), "prompt");
  EXPECT_EQ(refusal(R"({"prompt": [1, "a"]})"), "prompt[1]");
  EXPECT_EQ(refusal(R"({"prompt": [-1]})"), "prompt[0]");
  EXPECT_EQ(refusal(R"({"prompt": ["a", true]})"), "prompt[1]");
  EXPECT_EQ(refusal(R"({"prompt": ["a", "b", "c"], "n": 32})"), "n");
  EXPECT_EQ(refusal(R"({"prompt": "a", "echo": true, "logprobs": 1})"), "echo");
  EXPECT_EQ(refusal(R"({"prompt": "a", "suffix": "b"})"), "suffix");
}

}  // namespace
}  // namespace qround::server
