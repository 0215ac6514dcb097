#include "server/http_server.h"

#include <algorithm>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "server/api_error.h"
#include "server/http_request_parser.h"

namespace qround::server {
namespace {

// After the cut handlers end at their next look; a thread that cannot be woken is waited for, too.
constexpr std::chrono::milliseconds kCutTime(5'000);

HttpResponse error_response(int status, const char* message) {
  return {.status = status, .body = ApiError(status, message).json().dump()};
}

}  // namespace

struct HttpServer::Impl {
  struct Connection {
    Connection(Descriptor descriptor, std::string peer)
        : socket(std::move(descriptor), std::move(peer)) {}
    HttpSocket socket;
    std::thread thread;
    bool ended = false;
  };

  Impl(HttpServerOptions given, Handler handle, Admission admit)
      : options(std::move(given)),
        handler(std::move(handle)),
        admission(std::move(admit)),
        listener(options.host, options.port) {
    acceptor = std::thread([this] { accept_all(); });
  }

  void accept_all();
  void admit(Descriptor descriptor, std::string peer);
  void reap();  // needs `mutex`
  void serve(Connection& connection);
  // Whether the connection can take another request.
  bool serve_one(HttpSocket& socket, std::string& buffer);
  std::optional<HttpRequest> read_request(HttpSocket& socket, std::string& buffer);
  void refuse(HttpSocket& socket, HttpRequest request, const HttpResponse& response);

  const HttpServerOptions options;
  const Handler handler;
  const Admission admission;
  HttpListener listener;
  WakeSignal stop_signal;  // ends accepting and waits for a next request
  std::atomic<bool> stopping = false, cut = false;

  mutable std::mutex mutex;  // guards what follows
  std::condition_variable ended;
  std::list<Connection> connections;
  std::map<std::string, size_t> per_peer;
  size_t active = 0;
  std::thread acceptor;
};

void HttpServer::Impl::accept_all() {
  while (!stopping) {
    std::string peer;
    Descriptor descriptor = listener.accept(stop_signal, peer);
    if (descriptor.get() >= 0) admit(std::move(descriptor), std::move(peer));
  }
}

void HttpServer::Impl::admit(Descriptor descriptor, std::string peer) {
  std::unique_lock lock(mutex);
  reap();
  if (active >= options.max_connections || per_peer[peer] >= options.max_connections_per_peer) {
    lock.unlock();
    HttpSocket socket(std::move(descriptor), std::move(peer));
    HttpRequest nobody;
    HttpExchange(nobody, socket, std::chrono::milliseconds(0), cut)
        .respond(error_response(503, "too many connections"));
    return;
  }
  Connection& connection = connections.emplace_back(std::move(descriptor), peer);
  ++active;
  ++per_peer[peer];
  try {
    connection.thread = std::thread([this, &connection] { serve(connection); });
  } catch (const std::system_error&) {  // no more threads: the client may try again
    --active;
    --per_peer[peer];
    connections.pop_back();
  }
}

void HttpServer::Impl::reap() {
  for (auto it = connections.begin(); it != connections.end();) {
    if (!it->ended) {
      ++it;
      continue;
    }
    it->thread.join();
    it = connections.erase(it);
  }
}

void HttpServer::Impl::serve(Connection& connection) {
  try {
    std::string buffer;
    while (serve_one(connection.socket, buffer)) {
    }
  } catch (const std::exception&) {
    // The handler reports its own failures; whatever reaches this point ends the connection.
  }
  connection.socket.break_off();
  const std::lock_guard lock(mutex);
  connection.ended = true;
  --active;
  if (auto peer = per_peer.find(connection.socket.peer()); --peer->second == 0) {
    per_peer.erase(peer);
  }
  ended.notify_all();
}

bool HttpServer::Impl::serve_one(HttpSocket& socket, std::string& buffer) {
  if (buffer.empty()) {
    if (stopping) return false;
    const auto idle = socket.read(buffer, after(options.idle_time), &stop_signal);
    if (idle != HttpSocket::Result::done) return false;
  }
  std::optional<HttpRequest> request = read_request(socket, buffer);
  if (!request) return false;
  HttpExchange exchange(std::move(*request), socket, options.write_time, cut);
  if (stopping) exchange.close_after();
  handler(exchange);
  exchange.end_stream();
  return exchange.keep_alive();
}

std::optional<HttpRequest> HttpServer::Impl::read_request(HttpSocket& socket, std::string& buffer) {
  HttpRequestParser parser(options.max_header_bytes, options.max_body_bytes);
  Deadline deadline = after(options.header_time);
  bool admitted = false;
  try {
    while (true) {
      buffer.erase(0, parser.put(buffer));
      if (parser.header_done() && !admitted) {
        admitted = true;
        deadline = after(options.body_time);
        if (auto refusal = admission(parser.request())) {
          refuse(socket, parser.take(), *refusal);
          return std::nullopt;
        }
        if (parser.wants_continue() && !parser.done()) {
          socket.write("HTTP/1.1 100 Continue\r\n\r\n", after(options.write_time));
        }
      }
      if (parser.done()) return parser.take();
      switch (socket.read(buffer, deadline, nullptr)) {
        case HttpSocket::Result::done:
          break;
        case HttpSocket::Result::timeout:
          refuse(socket, {}, error_response(408, "the request took too long to arrive"));
          return std::nullopt;
        case HttpSocket::Result::closed:
        case HttpSocket::Result::woken:
          return std::nullopt;
      }
    }
  } catch (const HttpParseError& error) {
    refuse(socket, {}, error_response(error.status(), error.what()));
    return std::nullopt;
  }
}

void HttpServer::Impl::refuse(HttpSocket& socket, HttpRequest request,
                              const HttpResponse& response) {
  HttpExchange exchange(std::move(request), socket, options.write_time, cut);
  exchange.close_after();
  exchange.respond(response);
  socket.close_gently();
}

HttpServer::HttpServer(HttpServerOptions options, Handler handler, Admission admission)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler), std::move(admission))) {}

HttpServer::~HttpServer() { stop(std::chrono::milliseconds(0)); }

uint16_t HttpServer::port() const { return impl_->listener.port(); }

bool HttpServer::is_loopback() const { return impl_->listener.is_loopback(); }

bool HttpServer::stopping() const { return impl_->stopping; }

size_t HttpServer::connections() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->active;
}

void HttpServer::stop(std::chrono::milliseconds grace) {
  impl_->stopping = true;
  impl_->stop_signal.set();
  if (impl_->acceptor.joinable()) impl_->acceptor.join();
  std::unique_lock lock(impl_->mutex);
  const auto nobody_left = [this] { return impl_->active == 0; };
  if (!impl_->ended.wait_for(lock, grace, nobody_left)) {
    impl_->cut = true;
    if (!impl_->ended.wait_for(lock, kCutTime, nobody_left)) {
      for (auto& connection : impl_->connections) connection.socket.break_off();
      impl_->ended.wait(lock, nobody_left);
    }
  }
  impl_->reap();
}

}  // namespace qround::server
