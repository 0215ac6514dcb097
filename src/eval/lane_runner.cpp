#include "eval/lane_runner.h"

#include <numeric>

namespace qround::eval {

const ops::OpTable& LaneDevices::table(const std::string& backend) {
  return backend.empty() ? ops::select_host_backend() : ops::select_backend(backend);
}

ops::Workspace& LaneDevices::workspace(const ops::Memory& memory) {
  return workspaces_.try_emplace(&memory, memory).first->second;
}

std::shared_ptr<const Model> LaneDevices::outside_blocks(const Model& model,
                                                         const ops::Memory& memory) {
  if (memory.is_host) return {std::shared_ptr<const Model>(), &model};
  std::shared_ptr<const Model>& known = models_[{&model, &memory}];
  if (known == nullptr)
    known = std::make_shared<const Model>(model.in(memory, Model::Parts::outside_blocks));
  return known;
}

LaneRunner::LaneRunner(const Lane& lane, const std::string& backend, Threads threads,
                       LaneDevices& devices)
    : lane_(lane),
      executor_{LaneDevices::table(lane.backend.empty() ? backend : lane.backend),
                {.threads = threads,
                 .workspace = devices.workspace(
                     *LaneDevices::table(lane.backend.empty() ? backend : lane.backend).memory),
                 .many_rows = true}},
      outside_(devices.outside_blocks(*lane.model, *executor_.ops.memory)),
      head_(devices.outside_blocks(lane.head(), *executor_.ops.memory)) {}

template <class Run>
void LaneRunner::on_device(std::span<const float> in, std::span<float> out, const Run& run) const {
  const ops::Memory& memory = *executor_.ops.memory;
  if (memory.is_host) return run(in.data(), out.data());
  ops::Workspace::Scope scope(executor_.context.workspace);
  const std::span<float> device_in = scope.take<float>(in.size());
  const std::span<float> device_out =
      in.data() == out.data() ? device_in : scope.take<float>(out.size());
  memory.upload(device_in.data(), in.data(), in.size_bytes(), nullptr);
  run(device_in.data(), device_out.data());
  memory.download(out.data(), device_out.data(), out.size_bytes(), nullptr);
}

void LaneRunner::load_block(int64_t index) {
  weights_ = {};  // what came before need not fit beside it
  weights_ = make_resident(lane_.block(index), *executor_.ops.memory, nullptr);
  block_ = index;
}

void LaneRunner::block_forward(std::span<const int64_t> lengths, float* hidden,
                               const RouteObserver& on_route) const {
  const ModelConfig& config = lane_.model->config();
  const auto mixers = std::span(config.mixers).subspan(static_cast<size_t>(block_), 1);
  int64_t pages = 0;
  for (const int64_t tokens : lengths) pages += pages_for(tokens);
  // A pool of keys and values for this block alone; the states go when the batch is done.
  const auto pool = make_kv_pool(config, mixers, pages, *executor_.ops.memory);
  std::vector<SequenceState> states;
  states.reserve(lengths.size());
  std::vector<SequenceRows> batch;
  for (const int64_t tokens : lengths) {
    states.emplace_back(config, mixers, pool);
    states.back().begin(tokens);
    batch.push_back({.state = &states.back(), .tokens = tokens});
  }
  Executor executor = executor_;
  executor.on_route = &on_route;
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const std::span<float> rows(hidden, static_cast<size_t>(tokens * config.hidden));
  ops::Workspace::Scope scope(executor.context.workspace);
  const BatchView view = make_batch_view(config, batch, {}, scope, *executor.ops.memory);
  on_device(rows, rows, [&](const float*, float* stream) {
    qround::block_forward(config, weights_.weights, 0, view, stream, executor);
  });
}

void LaneRunner::normalize(int64_t rows, float* hidden) const {
  const std::span<float> all(hidden, static_cast<size_t>(rows * lane_.model->config().hidden));
  on_device(all, all,
            [&](const float*, float* stream) { outside_->normalize(rows, stream, executor_); });
}

void LaneRunner::logits(const float* hidden, int64_t rows, float* logits) const {
  const ModelConfig& config = lane_.model->config();
  on_device({hidden, static_cast<size_t>(rows * config.hidden)},
            {logits, static_cast<size_t>(rows * config.vocab)},
            [&](const float* in, float* out) { head_->logits(in, rows, out, executor_); });
}

void LaneRunner::mtp_forward(std::span<const int32_t> next_ids, const float* hidden,
                             float* out) const {
  SequenceState state = outside_->empty_mtp_state();
  const SequenceRows rows{.state = &state, .tokens = static_cast<int64_t>(next_ids.size())};
  const auto count = static_cast<size_t>(rows.tokens * lane_.model->config().hidden);
  on_device({hidden, count}, {out, count}, [&](const float* from, float* to) {
    outside_->mtp_forward(next_ids, from, std::span(&rows, 1), to, executor_);
  });
}

}  // namespace qround::eval
