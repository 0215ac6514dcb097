#include "server/server_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "base/memory.h"

namespace qround::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

const prometheus::Histogram::BucketBoundaries kFirstTokenBuckets = {
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300};
const prometheus::Histogram::BucketBoundaries kNextTokenBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};

prometheus::Histogram& add_histogram(prometheus::Registry& registry, const char* name,
                                     const char* help,
                                     const prometheus::Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

// Families that are read off other counters when somebody asks.
class Snapshot {
 public:
  template <typename T>
  void gauge(const char* name, const char* help, T value) {
    add(name, help, MetricType::Gauge).gauge.value = static_cast<double>(value);
  }
  template <typename T>
  void counter(const char* name, const char* help, T value) {
    add(name, help, MetricType::Counter).counter.value = static_cast<double>(value);
  }
  // One counter per depth of drafts.
  template <typename Array>
  void by_depth(const char* name, const char* help, const Array& values) {
    MetricFamily family{name, help, MetricType::Counter, {}};
    for (size_t i = 0; i < values.size(); ++i) {
      ClientMetric metric;
      metric.label.push_back({"depth", std::to_string(i + 1)});
      metric.counter.value = static_cast<double>(values[i]);
      family.metric.push_back(std::move(metric));
    }
    families.push_back(std::move(family));
  }

  std::vector<MetricFamily> families;

 private:
  ClientMetric& add(const char* name, const char* help, MetricType type) {
    families.push_back({name, help, type, {ClientMetric{}}});
    return families.back().metric.front();
  }
};

void add_engine(Snapshot& out, const EngineMetrics& m) {
  out.gauge("qround_requests_waiting", "Requests in the queue", m.queued);
  out.gauge("qround_requests_running", "Requests that share the passes now", m.running);
  out.counter("qround_engine_requests_total", "Requests given to the engine", m.submitted);
  out.counter("qround_engine_finished_total", "Requests that ended by themselves", m.finished);
  out.counter("qround_engine_cancelled_total", "Requests given up by their client", m.cancelled);
  out.counter("qround_engine_rejected_total", "Requests refused for a full queue", m.rejected);
  out.counter("qround_engine_failed_total", "Requests that failed", m.failed);
  out.counter("qround_prompt_tokens_total", "Tokens of prompts", m.prompt_tokens);
  out.counter("qround_cached_prompt_tokens_total", "Tokens of prompts taken from the prefix cache",
              m.cached_tokens);
  out.counter("qround_generated_tokens_total", "Tokens of answers", m.output_tokens);
  out.counter("qround_passes_total", "Passes of the network", m.passes);
  out.counter("qround_busy_seconds_total", "Time in passes of the network", m.busy_seconds);
  out.by_depth("qround_mtp_drafted_total", "Drafted tokens verified, by place in their step",
               m.drafted);
  out.by_depth("qround_mtp_accepted_total", "Drafted tokens accepted, by place in their step",
               m.accepted);
  out.gauge("qround_kv_pages", "Pages for keys and values", m.kv_pages);
  out.gauge("qround_kv_pages_used", "Pages in use", m.kv_pages_used);
  out.gauge("qround_prefix_cache_entries", "States in the prefix cache", m.cache_entries);
  out.gauge("qround_prefix_cache_bytes", "Bytes of those states", m.cache_bytes);
  out.counter("qround_prefix_cache_hits_total", "Prompts that began with a cached one",
              m.cache_hits);
  out.counter("qround_prefix_cache_misses_total", "Prompts that did not", m.cache_misses);
}

}  // namespace

struct ServerMetrics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests = prometheus::BuildCounter()
                                                          .Name("qround_http_requests_total")
                                                          .Help("Answers by endpoint and status")
                                                          .Register(registry);
  prometheus::Histogram& first =
      add_histogram(registry, "qround_time_to_first_token_seconds",
                    "From a request's submission to its first token", kFirstTokenBuckets);
  prometheus::Histogram& next = add_histogram(registry, "qround_inter_token_seconds",
                                              "Between tokens of an answer", kNextTokenBuckets);
};

ServerMetrics::ServerMetrics() : impl_(std::make_unique<Impl>()) {}

ServerMetrics::~ServerMetrics() = default;

void ServerMetrics::request(const std::string& endpoint, int status) {
  impl_->requests.Add({{"endpoint", endpoint}, {"status", std::to_string(status)}}).Increment();
}

void ServerMetrics::first_token(double seconds) { impl_->first.Observe(seconds); }

void ServerMetrics::next_token(double seconds) { impl_->next.Observe(seconds); }

std::string ServerMetrics::text(const EngineMetrics* engine, size_t connections) const {
  Snapshot snapshot;
  snapshot.families = impl_->registry.Collect();
  if (engine != nullptr) add_engine(snapshot, *engine);
  const ResidentMemory memory = resident_memory();
  snapshot.gauge("qround_connections", "Open connections", connections);
  snapshot.gauge("qround_private_memory_bytes", "Resident memory that is no mapped file",
                 memory.private_bytes());
  snapshot.gauge("qround_mapped_memory_bytes", "Resident pages of mapped files", memory.file_bytes);
  return prometheus::TextSerializer().Serialize(snapshot.families);
}

}  // namespace qround::server
