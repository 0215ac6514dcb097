#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/server/http_client.h"

namespace qround::server {
namespace {

using namespace std::chrono_literals;

// Answers with the body it got, or what a test wants.
class HttpServerTest : public testing::Test {
 protected:
  HttpServerOptions options() {
    HttpServerOptions options;
    options.port = 0;
    options.header_time = 300ms;
    options.body_time = 300ms;
    options.max_body_bytes = 10'000;
    options.max_header_bytes = 4'000;
    return options;
  }
  void start(HttpServerOptions options) {
    server_ = std::make_unique<HttpServer>(
        options, [this](HttpExchange& exchange) { handle(exchange); },
        [](const HttpRequest& request) -> std::optional<HttpResponse> {
          if (request.path != "/forbidden") return std::nullopt;
          return HttpResponse{.status = 401, .body = "no"};
        });
  }
  void handle(HttpExchange& exchange) {
    if (exchange.request().path == "/stream") return stream(exchange);
    exchange.respond({.content_type = "text/plain",
                      .body = exchange.request().path + " " + exchange.request().body});
  }
  void stream(HttpExchange& exchange) {
    exchange.start_stream("text/event-stream");
    ++streaming_;
    while (!exchange.client_gone() && !exchange.cut()) {
      exchange.write("data: x\n\n");
      std::this_thread::sleep_for(5ms);
    }
    exchange.write("data: end\n\n");
    --streaming_;
  }
  bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) std::this_thread::sleep_for(5ms);
    return condition();
  }
  uint16_t port() const { return server_->port(); }

  std::atomic<int> streaming_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersOneRequestAfterTheOther) {
  start(options());
  HttpClient client(port());
  EXPECT_EQ(client.post("/a%20b?c=d", "body").body, "/a b body");
  EXPECT_EQ(client.get("/second").body, "/second ");
}

TEST_F(HttpServerTest, TakesRequestsInAnyPieces) {
  start(options());
  const std::string request = "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  for (size_t cut = 1; cut < request.size(); cut += 7) {
    HttpClient client(port());
    client.send(request.substr(0, cut));
    std::this_thread::sleep_for(2ms);
    client.send(request.substr(cut));
    EXPECT_EQ(client.reply().body, "/p abc") << cut;
  }
  HttpClient two(port());
  two.send(request + request);
  EXPECT_EQ(two.reply().body, "/p abc");
  EXPECT_EQ(two.reply().body, "/p abc");
}

TEST_F(HttpServerTest, TakesChunkedBodies) {
  start(options());
  HttpClient client(port());
  client.send(
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");
  EXPECT_EQ(client.reply().body, "/c abcde");
}

TEST_F(HttpServerTest, AsksForTheBodyWhenTheClientWaits) {
  start(options());
  HttpClient client(port());
  client.send("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_TRUE(client.read_until("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send("ok");
  EXPECT_TRUE(client.read_until("/e ok"));
}

TEST_F(HttpServerTest, RefusesWhatIsNoRequest) {
  start(options());
  for (const char* bytes :
       {"hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x01\x01",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"}) {
    HttpClient client(port());
    client.send(bytes);
    EXPECT_EQ(client.reply().status / 100, 4) << bytes;
    EXPECT_TRUE(client.closed_by_server());
  }
}

TEST_F(HttpServerTest, LimitsHeadersAndBodies) {
  start(options());
  HttpClient flood(port());
  flood.send("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 1000 && flood.send("X-Header: " + std::string(100, 'x') + "\r\n"); ++i) {
  }
  EXPECT_EQ(flood.reply().status, 431);

  HttpClient large(port());
  large.send("POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n");
  EXPECT_EQ(large.reply().status, 413);

  HttpClient chunks(port());
  chunks.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 100 && chunks.send("400\r\n" + std::string(0x400, 'x') + "\r\n"); ++i) {
  }
  EXPECT_EQ(chunks.reply().status, 413);
}

TEST_F(HttpServerTest, EndsSlowRequests) {
  start(options());
  HttpClient header(port());
  header.send("GET / HTTP/1.1\r\nX: ");
  const auto begin = std::chrono::steady_clock::now();
  while (header.send("x") && std::chrono::steady_clock::now() - begin < 5s) {
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);

  HttpClient body(port());
  body.send("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_EQ(body.reply().status, 408);
}

TEST_F(HttpServerTest, RefusesBeforeTheBodyIsRead) {
  start(options());
  HttpClient client(port());
  client.send("POST /forbidden HTTP/1.1\r\nContent-Length: 9000\r\n\r\n");
  EXPECT_EQ(client.reply().status, 401);
}

TEST_F(HttpServerTest, LimitsConnections) {
  HttpServerOptions few = options();
  few.max_connections = 4;
  few.max_connections_per_peer = 2;
  start(few);
  HttpClient a(port()), b(port());
  EXPECT_EQ(a.get("/").status, 200);
  EXPECT_EQ(b.get("/").status, 200);
  {
    HttpClient c(port());
    EXPECT_EQ(c.reply().status, 503);
  }
  EXPECT_EQ(a.get("/").status, 200);
}

TEST_F(HttpServerTest, NoticesThatTheClientWent) {
  start(options());
  {
    HttpClient client(port());
    client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(client.read_until("data: x"));
    EXPECT_EQ(streaming_, 1);
  }
  EXPECT_TRUE(eventually([&] { return streaming_ == 0; }));
}

TEST_F(HttpServerTest, StopsWithoutCuttingAnEventInTwo) {
  start(options());
  HttpClient idle(port());
  EXPECT_EQ(idle.get("/").status, 200);
  HttpClient client(port());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.read_until("data: x"));
  const auto begin = std::chrono::steady_clock::now();
  server_->stop(100ms);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
  EXPECT_TRUE(idle.closed_by_server());
  const HttpReply reply = client.reply();
  EXPECT_TRUE(reply.body.ends_with("data: end\n\n")) << reply.body;
}

}  // namespace
}  // namespace qround::server
