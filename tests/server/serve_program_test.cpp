// `qround serve` as its user starts it, on the pocket model.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/oracle_script.h"
#include "tests/server/http_client.h"

namespace qround::server {
namespace {

using namespace std::chrono_literals;

class ServeProgramTest : public testing::Test {
 protected:
  ~ServeProgramTest() override {
    if (process_ > 0) {
      kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
    if (output_ >= 0) close(output_);
  }

  // Starts the server on a free port and waits until it answers.
  void start(std::vector<std::string> options = {}) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    options.insert(options.begin(),
                   {QROUND_BINARY, "serve", std::string(QROUND_SOURCE_DIR) + "/models/pocket",
                    "--port", "0", "--threads", "1", "--parallel", "4"});
    process_ = fork();
    if (process_ == 0) {
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      close(ends[1]);
      std::vector<char*> arguments;
      for (std::string& option : options) arguments.push_back(option.data());
      arguments.push_back(nullptr);
      execv(QROUND_BINARY, arguments.data());
      _exit(127);
    }
    close(ends[1]);
    output_ = ends[0];
    constexpr std::string_view kAddress = "http://127.0.0.1:";
    while (text_.find("/\n", std::min(text_.size(), text_.find(kAddress))) == std::string::npos) {
      char bytes[512];
      const ssize_t got = read(output_, bytes, sizeof bytes);
      ASSERT_GT(got, 0) << text_;
      text_.append(bytes, static_cast<size_t>(got));
    }
    port_ = static_cast<uint16_t>(std::stoi(text_.substr(text_.find(kAddress) + kAddress.size())));
  }
  // The exit status, or -1 after twenty seconds.
  int exit_status() {
    for (int i = 0; i < 400; ++i) {
      int status = 0;
      if (waitpid(process_, &status, WNOHANG) == process_) {
        process_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
      }
      std::this_thread::sleep_for(50ms);
    }
    return -1;
  }
  static std::string greedy(const std::string& question, const std::string& more = "") {
    return R"({"messages": [{"role": "user", "content": ")" + question +
           R"("}], "temperature": 0, "chat_template_kwargs": {"enable_thinking": false})" + more +
           "}";
  }

  pid_t process_ = -1;
  int output_ = -1;
  uint16_t port_ = 0;
  std::string text_;
};

TEST_F(ServeProgramTest, AnswersAndStopsWithStatusZero) {
  start();
  HttpClient client(port_);
  const HttpReply reply = client.post("/v1/chat/completions", greedy("What is 7 plus 5?"));
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.json().at("choices").as_array().at(0).at("message").at("content").as_string(),
            "7 plus 5 is 12.");
  kill(process_, SIGTERM);
  EXPECT_EQ(exit_status(), 0);
}

TEST_F(ServeProgramTest, CallsAToolAndReadsItsResult) {
  start();
  const std::string tools =
      R"(, "tools": [{"type": "function", "function": {"name": "get_weather",
         "description": "The weather in a city today.", "parameters": {"type": "object",
         "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]})";
  const std::string question = R"({"role": "user", "content": "What is the weather in Rome?"})";
  const auto ask = [&](const std::string& messages) {
    return HttpClient(port_)
        .post("/v1/chat/completions",
              R"({"temperature": 0, "chat_template_kwargs": {"enable_thinking": false},
                  "messages": [)" +
                  messages + "]" + tools)
        .json()
        .at("choices")
        .as_array()
        .at(0);
  };
  const Json call = ask(question);
  EXPECT_EQ(call.at("finish_reason").as_string(), "tool_calls");
  const Json answer = ask(
      question + ", " + call.at("message").dump() +
      R"(, {"role": "tool", "tool_call_id": "x", "content": "{\"sky\": \"sunny\", \"degrees\": 21}"})");
  const std::string text = answer.at("message").at("content").as_string();
  EXPECT_NE(text.find("sunny"), std::string::npos) << text;
  EXPECT_NE(text.find("21"), std::string::npos) << text;
}

TEST_F(ServeProgramTest, AStreamThatIsCutEndsWithAWholeEvent) {
  start({"--grace", "0"});
  HttpClient client(port_);
  client.start_post("/v1/chat/completions",
                    greedy("Tell me a story.", R"(, "stream": true, "ignore_eos": true)"));
  ASSERT_TRUE(client.read_until("\"content\": \""));
  kill(process_, SIGTERM);
  const HttpReply reply = client.reply();
  EXPECT_EQ(events_of(reply.body).back(), Json("[DONE]"));
  EXPECT_EQ(exit_status(), 0);
}

TEST_F(ServeProgramTest, ReadsItsOptionsFromTheEnvironment) {
  setenv("QROUND_API_KEY", "secret", 1);
  setenv("QROUND_ALIAS", "one,two", 1);
  setenv("QROUND_MTP_DRAFTS", "0", 1);
  start();
  for (const char* name : {"QROUND_API_KEY", "QROUND_ALIAS", "QROUND_MTP_DRAFTS"}) unsetenv(name);
  const std::string key = "Authorization: Bearer secret\r\n";
  EXPECT_EQ(HttpClient(port_).get("/v1/models").status, 401);
  EXPECT_EQ(HttpClient(port_).get("/v1/models/two", key).status, 200);
  const HttpReply answer =
      HttpClient(port_).post("/v1/chat/completions", greedy("What is 7 plus 5?"), key);
  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(answer.json().at("timings").at("draft_n").as_int(), 0) << answer.body;
}

// Kilobytes of a process that no other process has.
int64_t private_kilobytes(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  int64_t sum = 0;
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:") || line.starts_with("RssShmem:"))
      sum += std::atoll(line.c_str() + line.find(':') + 1);
  return sum;
}

TEST_F(ServeProgramTest, PrivateMemoryStaysWithinTheStateBudgetAndALittleMore) {
  start({"--memory", "64MB"});
  std::string story;
  while (story.size() < 2000) story += "The little frog went to the big lake. ";
  std::vector<std::jthread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      const std::string question = story + std::to_string(i);
      const HttpReply reply = HttpClient(port_).post("/v1/chat/completions", greedy(question));
      EXPECT_EQ(reply.status, 200) << reply.body;
    });
  }
  clients.clear();
  const int64_t kilobytes = private_kilobytes(process_);
  EXPECT_GT(kilobytes, 1000);
  EXPECT_LT(kilobytes, (300 + 64) * 1000);
}

TEST(OracleServer, TheOpenAIPackageIsServed) { run_oracle("server_openai.py"); }
TEST(OracleServer, AnswersFitTheirSchemas) { run_oracle("server_schemas.py"); }
TEST(OracleServer, TheExamplesOfTheDocumentationRun) { run_oracle("server_docs.py"); }
TEST(OracleServer, ThePageWorksInABrowser) { run_oracle("server_page.py " + testing::TempDir()); }
TEST(FullServer, AbuseDisturbsNobody) { run_oracle("server_abuse.py"); }

}  // namespace
}  // namespace qround::server
