// The endpoints, over HTTP, with an engine that writes what the test says.
#include "server/application.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/server/fake_engine.h"
#include "tests/server/http_client.h"

namespace qround::server {
namespace {

using namespace std::chrono_literals;

const std::filesystem::path kPocket = std::filesystem::path(QROUND_SOURCE_DIR) / "models/pocket";

constexpr const char* kTools =
    R"("tools": [{"type": "function", "function": {"name": "get_weather", "parameters":
       {"type": "object", "properties": {"city": {"type": "string"}}}}},
       {"type": "function", "function": {"name": "other"}}])";

class ApplicationTest : public testing::Test {
 protected:
  ApplicationTest() {
    Tokenizer tokenizer = Tokenizer::load(kPocket);
    const auto end = tokenizer.token_to_id("<|im_end|>");
    auto tries = std::make_shared<TokenTries>(tokenizer);
    engine_.vocab = tokenizer.vocab_size();
    model_ = std::make_unique<ServedModel>(ServedModel{.id = "pocket",
                                                       .aliases = {"small"},
                                                       .tokenizer = std::move(tokenizer),
                                                       .tries = std::move(tries),
                                                       .chat_template = ChatTemplate::find(kPocket),
                                                       .stop_tokens = {end.value()},
                                                       .sampling = {},
                                                       .context_tokens = 2048,
                                                       .created = 1,
                                                       .engine = engine_.port()});
    say("Hello there, world.");
  }
  ~ApplicationTest() override {
    if (application_) application_->stop(0ms);
  }

  void start(ApplicationOptions options = {}) {
    options.http.port = 0;
    options.version = "1.2.3";
    application_ = std::make_unique<Application>(std::move(options));
  }
  void serve(ApplicationOptions options = {}) {
    start(std::move(options));
    application_->offer(*model_);
  }
  void say(const std::string& text) {
    engine_.output = [this, text](const Request&) { return model_->tokenizer.encode(text); };
  }
  uint16_t port() const { return application_->http().port(); }
  HttpReply get(const std::string& path, const std::string& headers = "") {
    return HttpClient(port()).get(path, headers);
  }
  HttpReply post(const std::string& path, const std::string& body,
                 const std::string& headers = "") {
    return HttpClient(port()).post(path, body, headers);
  }
  static std::string chat_body(const std::string& more = "") {
    return R"({"messages": [{"role": "user", "content": "Hi"}])" +
           (more.empty() ? "" : ", " + more) + "}";
  }
  // Without thinking: the first word is content.
  static std::string plain_body(const std::string& more = "") {
    return chat_body(R"("chat_template_kwargs": {"enable_thinking": false})" +
                     (more.empty() ? "" : ", " + more));
  }
  Json chat(const std::string& body) {
    const HttpReply reply = post("/v1/chat/completions", body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply.json();
  }
  static const Json& first(const Json& answer) { return answer.at("choices").as_array().at(0); }

  FakeEngine engine_;
  std::unique_ptr<ServedModel> model_;
  std::unique_ptr<Application> application_;
};

TEST_F(ApplicationTest, WhileTheModelLoadsOnlyHealthVersionAndMetricsAnswer) {
  start();
  EXPECT_EQ(get("/health").status, 503);
  EXPECT_EQ(get("/v1/models").status, 503);
  EXPECT_EQ(get("/version").json().at("version").as_string(), "1.2.3");
  EXPECT_EQ(get("/metrics").status, 200);
  application_->offer(*model_);
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(get("/v1/models").status, 200);
}

TEST_F(ApplicationTest, UnknownPathsAnswerInOpenAIsShape) {
  serve();
  for (const char* path : {"/v1/responses", "/v1/messages", "/../../etc/passwd", "/v1/nothing"}) {
    const HttpReply reply = post(path, "{}");
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_EQ(reply.json().at("error").at("code").as_string(), "unknown_url");
  }
  EXPECT_EQ(get("/v1/chat/completions").status, 405);
}

TEST_F(ApplicationTest, ModelsAreListedAndFound) {
  serve();
  EXPECT_EQ(get("/v1/models").json().at("data").as_array().size(), 2U);
  EXPECT_EQ(get("/v1/models/pocket").json().at("id").as_string(), "pocket");
  EXPECT_EQ(get("/v1/models/small").status, 200);
  EXPECT_EQ(get("/v1/models/large").json().at("error").at("code").as_string(), "model_not_found");
  EXPECT_EQ(post("/v1/chat/completions", chat_body(R"("model": "large")")).status, 404);
}

TEST_F(ApplicationTest, ATextIsTokenizedAndBack) {
  serve();
  const Json tokens = post("/tokenize", R"({"prompt": "Hello world"})").json();
  EXPECT_EQ(tokens.at("count").as_int(),
            static_cast<int64_t>(tokens.at("tokens").as_array().size()));
  const Json text =
      post("/detokenize", Json::object({{"tokens", tokens.at("tokens")}}).dump()).json();
  EXPECT_EQ(text.at("prompt").as_string(), "Hello world");
  EXPECT_GT(post("/tokenize", chat_body()).json().at("count").as_int(), 3);
  EXPECT_EQ(post("/detokenize", R"({"tokens": "x"})").status, 400);
}

TEST_F(ApplicationTest, AnswersAChat) {
  serve();
  const Json answer = chat(plain_body());
  EXPECT_EQ(answer.at("object").as_string(), "chat.completion");
  EXPECT_EQ(first(answer).at("message").at("content").as_string(), "Hello there, world.");
  EXPECT_EQ(first(answer).at("message").find("reasoning_content"), nullptr);
  EXPECT_EQ(first(answer).at("finish_reason").as_string(), "stop");
  EXPECT_GT(answer.at("usage").at("prompt_tokens").as_int(), 0);
  EXPECT_EQ(answer.at("usage").at("total_tokens").as_int(),
            answer.at("usage").at("prompt_tokens").as_int() +
                answer.at("usage").at("completion_tokens").as_int());
}

TEST_F(ApplicationTest, SplitsReasoningFromContent) {
  serve();
  say("I greet.\n</think>\n\nHello.");
  const Json message = first(chat(chat_body())).at("message");
  EXPECT_EQ(message.at("reasoning_content").as_string(), "I greet.");
  EXPECT_EQ(message.at("reasoning").as_string(), "I greet.");
  EXPECT_EQ(message.at("content").as_string(), "Hello.");
}

TEST_F(ApplicationTest, StreamsAChat) {
  serve();
  say("I greet.\n</think>\n\nHello.");
  const HttpReply reply = post(
      "/v1/chat/completions",
      chat_body(R"("stream": true, "stream_options": {"include_usage": true}, "logprobs": true)"));
  EXPECT_EQ(reply.status, 200);
  const std::vector<Json> events = events_of(reply.body);
  ASSERT_GE(events.size(), 5U);
  EXPECT_EQ(first(events[0]).at("delta").at("role").as_string(), "assistant");
  std::string reasoning, content, finish;
  size_t tokens = 0;
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const Json& choice = first(events[i]);
    if (const Json* text = choice.at("delta").find("reasoning_content")) {
      reasoning += text->as_string();
    }
    if (const Json* text = choice.at("delta").find("content")) content += text->as_string();
    if (choice.at("finish_reason").is_string()) finish = choice.at("finish_reason").as_string();
    if (choice.at("logprobs").is_object()) {
      tokens += choice.at("logprobs").at("content").as_array().size();
    }
  }
  EXPECT_EQ(reasoning, "I greet.");
  EXPECT_EQ(content, "Hello.");
  EXPECT_EQ(finish, "stop");
  const Json& usage = events[events.size() - 2];
  EXPECT_TRUE(usage.at("choices").as_array().empty());
  EXPECT_EQ(usage.at("usage").at("completion_tokens").as_int(), static_cast<int64_t>(tokens));
  EXPECT_EQ(events.back(), Json("[DONE]"));
}

TEST_F(ApplicationTest, ParsesToolCalls) {
  serve();
  say("<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n"
      "</tool_call>");
  const Json answer = chat(plain_body(kTools));
  EXPECT_EQ(first(answer).at("finish_reason").as_string(), "tool_calls");
  EXPECT_TRUE(first(answer).at("message").at("content").is_null());
  const Json& call = first(answer).at("message").at("tool_calls").as_array().at(0);
  EXPECT_EQ(call.at("function").at("name").as_string(), "get_weather");
  EXPECT_EQ(call.at("function").at("arguments").as_string(), R"({"city": "Rome"})");

  const std::vector<Json> events = events_of(
      post("/v1/chat/completions", plain_body(std::string(kTools) + R"(, "stream": true)")).body);
  std::string name, arguments;
  for (const Json& event : events) {
    const Json* calls = event.is_object() ? first(event).at("delta").find("tool_calls") : nullptr;
    if (calls == nullptr) continue;
    const Json& function = calls->as_array().at(0).at("function");
    if (const Json* part = function.find("name")) name += part->as_string();
    arguments += function.at("arguments").as_string();
  }
  EXPECT_EQ(name, "get_weather");
  EXPECT_EQ(arguments, R"({"city": "Rome"})");
}

TEST_F(ApplicationTest, ARequiredCallBeginsWithOneOfTheFunctions) {
  serve();
  // Without the constraint the text would be no call at all.
  engine_.output = [this](const Request&) {
    std::vector<int32_t> ids = model_->tokenizer.encode("Well, I do not know what to say here.");
    const auto rest = model_->tokenizer.encode("</function>\n</tool_call>");
    ids.insert(ids.end(), rest.begin(), rest.end());
    return ids;
  };
  chat(plain_body(std::string(kTools) + R"(, "tool_choice": "required", "max_tokens": 3)"));
  const std::string prompt = model_->tokenizer.decode(engine_.last_request().tokens);
  EXPECT_TRUE(prompt.ends_with("<tool_call>\n<function=")) << prompt;
  EXPECT_TRUE(static_cast<bool>(engine_.last_request().constrain));
  chat(plain_body(std::string(kTools) +
                  R"(, "tool_choice": {"type": "function", "function": {"name": "other"}})"));
  EXPECT_TRUE(model_->tokenizer.decode(engine_.last_request().tokens)
                  .ends_with("<tool_call>\n<function=other>\n"));
}

TEST_F(ApplicationTest, StopsAtStopStrings) {
  serve();
  const Json answer = chat(plain_body(R"("stop": ["there,"])"));
  EXPECT_EQ(first(answer).at("message").at("content").as_string(), "Hello ");
  EXPECT_EQ(first(answer).at("finish_reason").as_string(), "stop");
  const Json cut = chat(plain_body(R"("max_tokens": 1)"));
  EXPECT_EQ(first(cut).at("finish_reason").as_string(), "length");
}

TEST_F(ApplicationTest, GivesSeveralChoicesWithSeedsOfTheirOwn) {
  serve();
  engine_.output = [this](const Request& request) {
    return model_->tokenizer.encode("seed " + std::to_string(request.sampling.seed));
  };
  const Json answer = chat(plain_body(R"("n": 3, "seed": 5)"));
  const auto& choices = answer.at("choices").as_array();
  ASSERT_EQ(choices.size(), 3U);
  EXPECT_EQ(choices[2].at("message").at("content").as_string(), "seed 7");
}

TEST_F(ApplicationTest, CompletesText) {
  serve();
  const Json answer =
      post("/v1/completions", R"({"prompt": ["a", "b"], "echo": true, "max_tokens": 50})").json();
  const auto& choices = answer.at("choices").as_array();
  ASSERT_EQ(choices.size(), 2U);
  EXPECT_EQ(choices[1].at("text").as_string(), "bHello there, world.");
  const Json only_prompt =
      post("/v1/completions", R"({"prompt": "abc", "echo": true, "max_tokens": 0})").json();
  EXPECT_EQ(first(only_prompt).at("text").as_string(), "abc");
  const Json logprobs = post("/v1/completions", R"({"prompt": "a", "logprobs": 1})").json();
  EXPECT_FALSE(first(logprobs).at("logprobs").at("tokens").as_array().empty());
  const std::vector<Json> events =
      events_of(post("/v1/completions", R"({"prompt": "a", "stream": true})").body);
  std::string text;
  for (const Json& event : events) {
    if (event.is_object()) text += first(event).at("text").as_string();
  }
  EXPECT_EQ(text, "Hello there, world.");
}

TEST_F(ApplicationTest, KeepsJsonInItsSchema) {
  serve();
  const Json answer = chat(plain_body(R"("response_format": {"type": "json_schema", "json_schema":
      {"name": "x", "schema": {"type": "object", "properties": {"a": {"enum": ["yes"]},
       "b": {"type": "boolean"}}, "required": ["a", "b"], "additionalProperties": false}}},
      "max_tokens": 60)"));
  const std::string text = first(answer).at("message").at("content").as_string();
  EXPECT_TRUE(text.find("{") != std::string::npos) << text;
  EXPECT_EQ(text.find("Hello"), std::string::npos) << text;
  const HttpReply refused =
      post("/v1/chat/completions",
           plain_body(R"("response_format": {"type": "json_schema", "json_schema": {"schema":
          {"type": "string", "pattern": "a*"}}})"));
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("pattern"), std::string::npos);
}

TEST_F(ApplicationTest, ErrorsOfRequestsAreTheirOwn) {
  serve();
  EXPECT_EQ(post("/v1/chat/completions", "{").status, 400);
  EXPECT_EQ(post("/v1/chat/completions", "\xFF\xFE").status, 400);
  EXPECT_EQ(post("/v1/chat/completions", std::string("{\"a\": \"\0\"}", 10)).status, 400);
  EXPECT_EQ(post("/v1/chat/completions", std::string(100'000, '[')).status, 400);
  const HttpReply wrong = post("/v1/chat/completions", plain_body(R"("temperature": "hot")"));
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.json().at("error").at("param").as_string(), "temperature");
  const std::string many(30'000, 'x');
  const HttpReply long_prompt = post(
      "/v1/chat/completions", R"({"messages": [{"role": "user", "content": ")" + many + R"("}]})");
  EXPECT_EQ(long_prompt.json().at("error").at("code").as_string(), "context_length_exceeded");
  const HttpReply refused_by_template =
      post("/v1/chat/completions", R"({"messages": [{"role": "assistant", "content": "Hi"}]})");
  EXPECT_EQ(refused_by_template.status, 400);
  EXPECT_EQ(chat(plain_body()).at("object").as_string(), "chat.completion");
}

TEST_F(ApplicationTest, AFullQueueIsToldWithATimeToRetry) {
  serve();
  engine_.refusal = Error("the queue is full", ErrorKind::resource);
  const HttpReply reply = post("/v1/chat/completions", plain_body());
  EXPECT_EQ(reply.status, 429);
  EXPECT_TRUE(reply.has_header("Retry-After: 1"));
}

TEST_F(ApplicationTest, AVanishedClientCancelsItsRequest) {
  serve();
  engine_.pace = 20ms;
  engine_.output = [](const Request&) { return std::vector<int32_t>(100'000, 100); };
  for (const char* stream : {"true", "false"}) {
    const int before = engine_.cancelled;
    {
      HttpClient client(port());
      client.start_post("/v1/chat/completions", plain_body(std::string("\"stream\": ") + stream));
      std::this_thread::sleep_for(100ms);
    }
    for (int i = 0; i < 400 && engine_.cancelled == before; ++i) std::this_thread::sleep_for(10ms);
    EXPECT_EQ(engine_.cancelled, before + 1) << stream;
  }
}

TEST_F(ApplicationTest, StoppingEndsStreamsWithAWholeEvent) {
  serve();
  engine_.pace = 10ms;
  engine_.output = [](const Request&) { return std::vector<int32_t>(100'000, 100); };
  HttpClient client(port());
  client.start_post("/v1/chat/completions", plain_body(R"("stream": true)"));
  ASSERT_TRUE(client.read_until("\"content\""));
  application_->stop(50ms);
  const HttpReply reply = client.reply();
  EXPECT_EQ(events_of(reply.body).back(), Json("[DONE]"));
}

TEST_F(ApplicationTest, TheKeyIsNeededEverywhereButForHealth) {
  ApplicationOptions options;
  options.api_key = "secret";
  serve(options);
  EXPECT_EQ(get("/health").status, 200);
  for (const char* path : {"/", "/page.js", "/v1/models", "/metrics", "/version", "/nothing"}) {
    EXPECT_EQ(get(path).status, 401) << path;
  }
  for (const char* wrong : {"Bearer", "Bearer secre", "Bearer secrett", "secret", "Basic !!", ""}) {
    EXPECT_EQ(get("/v1/models", std::string("Authorization: ") + wrong + "\r\n").status, 401);
  }
  EXPECT_EQ(get("/v1/models", "Authorization: Bearer secret\r\n").status, 200);
  EXPECT_EQ(get("/", "Authorization: Basic eDpzZWNyZXQ=\r\n").status, 200);  // x:secret
}

TEST_F(ApplicationTest, PagesOfOtherOriginsNeedPermission) {
  ApplicationOptions options;
  options.origins = {"https://good.example"};
  serve(options);
  EXPECT_EQ(get("/v1/models", "Origin: http://x\r\n").status, 200);  // the server's own page
  EXPECT_EQ(get("/v1/models", "Origin: https://evil.example\r\n").status, 403);
  const HttpReply good = get("/v1/models", "Origin: https://good.example\r\n");
  EXPECT_TRUE(good.has_header("Access-Control-Allow-Origin: https://good.example"));
}

TEST_F(ApplicationTest, ThePageLoadsNothingFromElsewhere) {
  serve();
  const HttpReply page = get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_NE(page.head.find("default-src 'none'"), std::string::npos);
  for (const char* path : {"/", "/page.css", "/page.js"}) {
    const std::string text = get(path).body;
    EXPECT_GT(text.size(), 500U);
    EXPECT_EQ(text.find("http://"), std::string::npos) << path;
    EXPECT_EQ(text.find("https://"), std::string::npos) << path;
    EXPECT_EQ(text.find("innerHTML"), std::string::npos) << path;
  }
}

TEST_F(ApplicationTest, MetricsCount) {
  serve();
  chat(plain_body());
  const std::string counted =
      "qround_http_requests_total{endpoint=\"/v1/chat/completions\",status=\"200\"} 1";
  // A request is counted once its answer is out, which its client may see first.
  std::string text;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  do {
    text = get("/metrics").body;
  } while (text.find(counted) == std::string::npos && std::chrono::steady_clock::now() < end);
  EXPECT_NE(text.find(counted), std::string::npos) << text;
  EXPECT_NE(text.find("qround_time_to_first_token_seconds_count 1"), std::string::npos);
  EXPECT_NE(text.find("qround_mtp_accepted_total{depth=\"1\"}"), std::string::npos);
}

}  // namespace
}  // namespace qround::server
