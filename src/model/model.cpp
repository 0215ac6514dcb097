#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "model/weight_upload.h"

namespace qround {
namespace {

std::string megabytes(uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

MtpWeights load_mtp(const Checkpoint& checkpoint, const ModelConfig& config,
                    const TensorTable& table) {
  return {.input = load_mtp_input(checkpoint, table),
          .block = load_block(checkpoint, config, table, Part::mtp, 0),
          .final_norm = stored_values(checkpoint, *table.find(Part::mtp, -1, Role::final_norm))};
}

void check_room(uint64_t needed, const ops::Memory& memory, uint64_t most_bytes) {
  const uint64_t available = memory.free_bytes();
  const bool within = most_bytes == 0 || needed <= most_bytes;
  if (within && needed <= available) return;
  throw Error(within ? "the weights do not fit the device's free memory"
                     : "the weights do not fit the memory budget of the device",
              ErrorKind::resource)
      .expected(megabytes(needed) + ", and more for states and activations")
      .actual(megabytes(within ? available : most_bytes))
      .hint(within ? "free memory on the device, or run with --backend cpu"
                   : "raise --gpu-memory, or run with --backend cpu");
}

// What lies in `memory`, as an observer on the host sees it.
void tell(const Model::Observer& observer, size_t level, std::span<const float> values,
          const ops::Memory& memory) {
  if (memory.is_host) return observer(static_cast<int64_t>(level), values);
  std::vector<float> on_host(values.size());
  memory.download(on_host.data(), values.data(), values.size_bytes(), nullptr);
  observer(static_cast<int64_t>(level), on_host);
}

}  // namespace

Model Model::load(std::shared_ptr<const Checkpoint> checkpoint) {
  Model model;
  model.checkpoint_ = std::move(checkpoint);
  const Checkpoint& files = *model.checkpoint_;
  model.config_ = parse_model_config(files.config(), files.path() / "config.json");
  model.table_ = TensorTable::of(model.config_);
  const CheckpointCensus census = check_against_table(files, model.table_);
  const auto text = [&](Role role) -> const Parameter& {
    return *model.table_.find(Part::text, -1, role);
  };
  model.embedding_ = stored_weight(files, text(Role::embedding));
  model.lm_head_ =
      model.config_.tied_embeddings ? model.embedding_ : stored_weight(files, text(Role::lm_head));
  model.mapped_lm_head_ = model.lm_head_;
  model.final_norm_ = stored_values(files, text(Role::final_norm));
  for (size_t block = 0; block < model.config_.mixers.size(); ++block) {
    model.blocks_.push_back(
        load_block(files, model.config_, model.table_, Part::text, static_cast<int64_t>(block)));
  }
  if (census.has_mtp) model.mtp_ = load_mtp(files, model.config_, model.table_);
  return model;
}

Model Model::in(const ops::Memory& memory, Parts parts, uint64_t most_bytes) const {
  Model copy = *this;
  if (memory.is_host) return copy;
  WeightUpload upload;
  upload.add(copy.embedding_);
  upload.add(copy.lm_head_);
  upload.add(copy.final_norm_);
  if (parts == Parts::outside_blocks) copy.blocks_.clear();
  for (BlockWeights& block : copy.blocks_) upload.add(block);
  if (copy.mtp_) {
    for (ParameterVector* norm :
         {&copy.mtp_->input.embedding_norm, &copy.mtp_->input.hidden_norm, &copy.mtp_->final_norm})
      upload.add(*norm);
    upload.add(copy.mtp_->input.fc);
    upload.add(copy.mtp_->block);
  }
  copy.copied_bytes_ = upload.bytes();
  check_room(copy.copied_bytes_, memory, most_bytes);
  copy.copies_ = std::make_shared<const ops::Buffer<std::byte>>(upload.upload(memory));
  memory.synchronize(nullptr);  // other streams may read it from now on
  copy.memory_ = &memory;
  return copy;
}

void Model::embed(std::span<const int32_t> ids, float* out) const {
  check_ids(ids);
  for (const int32_t id : ids) {
    ops::cpu::dequantize_rows(embedding_, id, id + 1, out);  // exact on every backend
    out += config_.hidden;
  }
}

void Model::embed(const int32_t* ids, int64_t rows, float* out, const Executor& executor) const {
  executor.ops.embed(embedding_, {.ids = ids, .out = out, .rows = rows}, executor.context);
}

void Model::check_ids(std::span<const int32_t> ids) const {
  const auto outside = std::find_if(ids.begin(), ids.end(),
                                    [&](int32_t id) { return id < 0 || id >= config_.vocab; });
  if (outside == ids.end()) return;
  throw Error("token id outside the vocabulary")
      .expected(fmt::format("0 to {}", config_.vocab - 1))
      .actual(fmt::format("{}", *outside));
}

void Model::forward(std::span<const int32_t> ids, std::span<const SequenceRows> batch,
                    float* hidden, const Executor& executor, const Observer& observer) const {
  check_ids(ids);
  for (const SequenceRows& rows : batch) rows.state->begin(rows.tokens);
  ops::Workspace::Scope scope(executor.context.workspace);
  const BatchView view = make_batch_view(config_, batch, ids, scope, *memory_);
  const auto enqueue = [&](const Executor& run) { run_text(view, hidden, run, observer); };
  if (executor.graphs == nullptr || observer) {
    enqueue(executor);
  } else {
    executor.graphs->run(view, {this, hidden, nullptr}, executor, enqueue);
  }
  for (const SequenceRows& rows : batch) rows.state->end(rows.tokens, rows.tentative);
}

void Model::run_text(const BatchView& view, float* hidden, const Executor& executor,
                     const Observer& observer) const {
  const auto count = static_cast<size_t>(view.rows() * config_.hidden);
  const auto observe = [&](size_t level) {
    if (observer) tell(observer, level, {hidden, count}, *memory_);
  };
  embed(view.ids, view.rows(), hidden, executor);
  observe(0);
  int64_t attentions = 0, delta_nets = 0;
  for (size_t block = 0; block < blocks_.size(); ++block) {
    int64_t& index = config_.mixers[block] == MixerKind::attention ? attentions : delta_nets;
    block_forward(config_, blocks_[block], index++, view, hidden, executor);
    observe(block + 1);
  }
  normalize(view.rows(), hidden, executor);
  observe(blocks_.size() + 1);
}

void Model::forward(std::span<const int32_t> ids, SequenceState& state, float* hidden,
                    const Executor& executor, const Observer& observer) const {
  const SequenceRows rows{.state = &state,
                          .tokens = static_cast<int64_t>(ids.size()),
                          .first_position = state.tokens()};
  forward(ids, std::span(&rows, 1), hidden, executor, observer);
}

void Model::settle(SequenceState& state, const Executor& executor) const {
  if (!state.owes_updates()) return;
  ops::Workspace::Scope scope(executor.context.workspace);
  const SequenceRows none{.state = &state};
  const BatchView view = make_batch_view(config_, std::span(&none, 1), {}, scope, *memory_);
  const auto layers =
      std::count(config_.mixers.begin(), config_.mixers.end(), MixerKind::delta_net);
  for (int64_t layer = 0; layer < layers; ++layer) settle_delta_net(config_, layer, view, executor);
  state.end(0, false);
}

void Model::normalize(int64_t rows, float* hidden, const Executor& executor) const {
  executor.ops.zero_centered_rms_norm(hidden, final_norm_.data(),
                                      {rows, config_.hidden, config_.norm_eps}, hidden,
                                      executor.context);
}

void Model::logits(const float* hidden, int64_t rows, float* logits,
                   const Executor& executor) const {
  executor.ops.linear(lm_head_, hidden, rows, logits, executor.context);
}

SequenceState Model::empty_mtp_state() const {
  return SequenceState(
      config_, mtp_mixers(),
      make_kv_pool(config_, mtp_mixers(), pages_for(config_.max_positions), *memory_));
}

void Model::mtp_forward(std::span<const int32_t> next_ids, const float* hidden,
                        std::span<const SequenceRows> batch, float* out,
                        const Executor& executor) const {
  check_ids(next_ids);
  for (const SequenceRows& rows : batch) rows.state->begin(rows.tokens);
  ops::Workspace::Scope scope(executor.context.workspace);
  const BatchView view = make_batch_view(config_, batch, next_ids, scope, *memory_);
  run_mtp(view, view.ids, hidden, out, executor);
  for (const SequenceRows& rows : batch) rows.state->end(rows.tokens, rows.tentative);
}

void Model::mtp_forward_from(const int32_t* next_ids, const float* hidden,
                             std::span<const SequenceRows> batch, float* out,
                             const Executor& executor) const {
  for (const SequenceRows& rows : batch) rows.state->begin(rows.tokens);
  ops::Workspace::Scope scope(executor.context.workspace);
  const BatchView view = make_batch_view(config_, batch, {}, scope, *memory_);
  run_mtp(view, next_ids, hidden, out, executor);
  for (const SequenceRows& rows : batch) rows.state->end(rows.tokens, rows.tentative);
}

void Model::run_mtp(const BatchView& view, const int32_t* next_ids, const float* hidden, float* out,
                    const Executor& executor) const {
  const auto enqueue = [&](const Executor& run) { enqueue_mtp(view, next_ids, hidden, out, run); };
  if (executor.graphs == nullptr) return enqueue(executor);
  executor.graphs->run(view, {next_ids, hidden, out}, executor, enqueue);
}

void Model::enqueue_mtp(const BatchView& view, const int32_t* next_ids, const float* hidden,
                        float* out, const Executor& executor) const {
  const MtpWeights& mtp = *mtp_;
  const int64_t tokens = view.rows();
  ops::Workspace::Scope scope(executor.context.workspace);
  const auto embedded = scope.take<float>(static_cast<size_t>(tokens * config_.hidden));
  embed(next_ids, tokens, embedded.data(), executor);
  mtp_input(config_, mtp.input, embedded.data(), hidden, tokens, out, executor);
  block_forward(config_, mtp.block, 0, view, out, executor);
  executor.ops.zero_centered_rms_norm(out, mtp.final_norm.data(),
                                      {tokens, config_.hidden, config_.norm_eps}, out,
                                      executor.context);
}

}  // namespace qround
