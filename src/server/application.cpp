#include "server/application.h"

#include <fmt/format.h>

#include <array>

#include "server/api_error.h"
#include "server/chat_handler.h"
#include "server/completion_handler.h"
#include "server/token_handlers.h"
#include "server/web_page.h"
#include "tokenizer/utf8.h"

namespace qround::server {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLoadingRetrySeconds = 5;
constexpr std::string_view kModelPrefix = "/v1/models/";

Json parse_body(const HttpExchange& exchange) {
  try {
    return Json::parse(exchange.request().body);
  } catch (const Error& error) {
    throw ApiError(400, fmt::format("the body is not valid JSON: {}", error.message()));
  }
}

void respond_json(HttpExchange& exchange, const Json& json) {
  exchange.respond({.body = json.dump()});
}

void respond_error(HttpExchange& exchange, const ApiError& error) {
  HttpResponse response{.status = error.status(), .body = error.json().dump()};
  if (error.retry_after()) {
    response.headers.emplace_back("Retry-After", std::to_string(*error.retry_after()));
  }
  exchange.respond(response);
}

using ModelHandler = void (*)(const ServerContext&, HttpExchange&);

struct Route {
  const char* method;
  const char* path;
  ModelHandler handle;
};

// What needs the model.
constexpr std::array kRoutes = {
    Route{"POST", "/v1/chat/completions",
          [](const ServerContext& context, HttpExchange& exchange) {
            handle_chat(context, exchange, parse_body(exchange));
          }},
    Route{"POST", "/v1/completions",
          [](const ServerContext& context, HttpExchange& exchange) {
            handle_completion(context, exchange, parse_body(exchange));
          }},
    Route{"GET", "/v1/models",
          [](const ServerContext& context, HttpExchange& exchange) {
            respond_json(exchange, list_models(context));
          }},
    Route{"POST", "/tokenize",
          [](const ServerContext& context, HttpExchange& exchange) {
            respond_json(exchange, tokenize(context, parse_body(exchange)));
          }},
    Route{"POST", "/detokenize",
          [](const ServerContext& context, HttpExchange& exchange) {
            respond_json(exchange, detokenize(context, parse_body(exchange)));
          }},
};

// The endpoint's name in the metrics: a bounded set, whatever paths are asked for.
std::string endpoint_name(const std::string& path) {
  for (const Route& route : kRoutes) {
    if (path == route.path) return path;
  }
  if (path.starts_with(kModelPrefix)) return "/v1/models/{id}";
  for (const char* known : {"/", "/health", "/metrics", "/version"}) {
    if (path == known) return path;
  }
  return "other";
}

}  // namespace

struct Application::Impl {
  explicit Impl(ApplicationOptions given)
      : options(std::move(given)),
        access(options.api_key, options.origins),
        http(
            options.http, [this](HttpExchange& exchange) { handle(exchange); },
            [this](const HttpRequest& request) { return admit(request); }) {}

  std::optional<HttpResponse> admit(const HttpRequest& request);
  void handle(HttpExchange& exchange);
  void dispatch(HttpExchange& exchange);
  bool dispatch_static(HttpExchange& exchange);
  void health(HttpExchange& exchange) const;
  void metrics_page(HttpExchange& exchange) const;
  ServerContext context();

  const ApplicationOptions options;
  const Access access;
  ServerMetrics metrics;
  std::atomic<const ServedModel*> model = nullptr;
  HttpServer http;  // last: its threads use the members above
};

std::optional<HttpResponse> Application::Impl::admit(const HttpRequest& request) {
  std::optional<HttpResponse> refusal = access.refusal(request);
  if (refusal) {
    for (auto& header : access.cors_headers(request)) refusal->headers.push_back(header);
    metrics.request(endpoint_name(request.path), refusal->status);
  }
  return refusal;
}

void Application::Impl::handle(HttpExchange& exchange) {
  const Clock::time_point begin = Clock::now();
  for (auto& [name, value] : access.cors_headers(exchange.request())) {
    exchange.add_header(name, value);
  }
  exchange.add_header("X-Content-Type-Options", "nosniff");
  try {
    dispatch(exchange);
  } catch (const ApiError& error) {
    respond_error(exchange, error);
  } catch (const Error& error) {
    respond_error(exchange, ApiError::from(error));
  } catch (const std::bad_alloc&) {
    respond_error(exchange, ApiError(503, "out of memory"));
  } catch (const std::exception& error) {
    respond_error(exchange, ApiError(500, error.what()));
  }
  metrics.request(endpoint_name(exchange.request().path), exchange.status());
  if (options.log) {
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    options.log(fmt::format("{} {} {} {} {:.1f} ms", exchange.peer(), exchange.request().method,
                            endpoint_name(exchange.request().path), exchange.status(), ms));
  }
}

ServerContext Application::Impl::context() {
  const ServedModel* loaded = model.load();
  if (loaded == nullptr) {
    throw ApiError(503, "the model is still loading").retry_after(kLoadingRetrySeconds);
  }
  return {.model = *loaded, .limits = options.limits, .metrics = metrics};
}

void Application::Impl::health(HttpExchange& exchange) const {
  if (model.load() == nullptr) {
    throw ApiError(503, "the model is still loading").retry_after(kLoadingRetrySeconds);
  }
  if (http.stopping()) throw ApiError(503, "the server is stopping");
  respond_json(exchange, Json::object({{"status", "ok"}}));
}

void Application::Impl::metrics_page(HttpExchange& exchange) const {
  const ServedModel* loaded = model.load();
  std::optional<EngineMetrics> engine;
  if (loaded != nullptr) engine = loaded->engine.metrics();
  exchange.respond({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                    .body = metrics.text(engine ? &*engine : nullptr, http.connections())});
}

// What is there before the model is. False: nothing of this kind.
bool Application::Impl::dispatch_static(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  if (request.method == "OPTIONS") {
    exchange.respond({.status = 204});
    return true;
  }
  if (request.method != "GET" && request.method != "HEAD") return false;
  if (request.path == "/health") {
    health(exchange);
  } else if (request.path == "/metrics") {
    metrics_page(exchange);
  } else if (request.path == "/version") {
    respond_json(exchange, Json::object({{"version", options.version}}));
  } else if (const std::optional<HttpResponse> page = web_page(request.path)) {
    exchange.respond(*page);
  } else {
    return false;
  }
  return true;
}

void Application::Impl::dispatch(HttpExchange& exchange) {
  if (dispatch_static(exchange)) return;
  const HttpRequest& request = exchange.request();
  bool known_path = false;
  for (const Route& route : kRoutes) {
    if (request.path != route.path) continue;
    known_path = true;
    if (request.method == route.method) return route.handle(context(), exchange);
  }
  if (request.method == "GET" && request.path.starts_with(kModelPrefix)) {
    return respond_json(exchange,
                        describe_model(context(), request.path.substr(kModelPrefix.size())));
  }
  if (known_path) {
    throw ApiError(405, fmt::format("{} is not allowed here", request.method));
  }
  throw ApiError(404, fmt::format("there is no {} {} here", to_utf8_lossy(request.method),
                                  to_utf8_lossy(request.path)))
      .code("unknown_url");
}

Application::Application(ApplicationOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

Application::~Application() = default;

void Application::offer(const ServedModel& model) { impl_->model = &model; }

const HttpServer& Application::http() const { return impl_->http; }

void Application::stop(std::chrono::milliseconds grace) { impl_->http.stop(grace); }

}  // namespace qround::server
