#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace qround {
namespace {

MtpWeights load_mtp(const Checkpoint& checkpoint, const ModelConfig& config,
                    const TensorTable& table) {
  return {.input = load_mtp_input(checkpoint, table),
          .block = load_block(checkpoint, config, table, Part::mtp, 0),
          .final_norm = stored_values(checkpoint, *table.find(Part::mtp, -1, Role::final_norm))};
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
  model.lm_head_ = model.config_.tied_embeddings ? model.embedding_
                                                 : stored_weight(files, text(Role::lm_head));
  model.final_norm_ = stored_values(files, text(Role::final_norm));
  for (size_t block = 0; block < model.config_.mixers.size(); ++block) {
    model.blocks_.push_back(
        load_block(files, model.config_, model.table_, Part::text, static_cast<int64_t>(block)));
  }
  if (census.has_mtp) model.mtp_ = load_mtp(files, model.config_, model.table_);
  return model;
}

void Model::embed(std::span<const int32_t> ids, float* out) const {
  check_ids(ids);
  for (const int32_t id : ids) {
    ops::cpu::dequantize_rows(embedding_, id, id + 1, out);  // exact on every backend
    out += config_.hidden;
  }
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
  const auto tokens = static_cast<int64_t>(ids.size());
  const std::span<const float> stream(hidden, static_cast<size_t>(tokens * config_.hidden));
  const auto observe = [&](size_t level) {
    if (observer) observer(static_cast<int64_t>(level), stream);
  };
  embed(ids, hidden);
  observe(0);
  int64_t attentions = 0, delta_nets = 0;
  for (size_t block = 0; block < blocks_.size(); ++block) {
    int64_t& index = config_.mixers[block] == MixerKind::attention ? attentions : delta_nets;
    block_forward(config_, blocks_[block], index++, batch, hidden, executor);
    observe(block + 1);
  }
  normalize(tokens, hidden, executor);
  observe(blocks_.size() + 1);
  for (const SequenceRows& rows : batch) rows.state->end(rows.tokens, rows.tentative);
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
  const auto layers =
      std::count(config_.mixers.begin(), config_.mixers.end(), MixerKind::delta_net);
  for (int64_t layer = 0; layer < layers; ++layer)
    settle_delta_net(config_, layer, state, executor);
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
  return SequenceState(config_, mtp_mixers(),
                       make_kv_pool(config_, mtp_mixers(), pages_for(config_.max_positions)));
}

void Model::mtp_forward(std::span<const int32_t> next_ids, const float* hidden,
                        std::span<const SequenceRows> batch, float* out,
                        const Executor& executor) const {
  const MtpWeights& mtp = *mtp_;
  check_ids(next_ids);
  for (const SequenceRows& rows_of_one : batch) rows_of_one.state->begin(rows_of_one.tokens);
  const int64_t h = config_.hidden;
  const auto tokens = static_cast<int64_t>(next_ids.size());
  const ops::RmsNormShape rows{tokens, h, config_.norm_eps};
  ops::Workspace::Scope scope(executor.context.workspace);
  const auto embedded = scope.take<float>(static_cast<size_t>(tokens * h));
  embed(next_ids, embedded.data());
  mtp_input(config_, mtp.input, embedded.data(), hidden, tokens, out, executor);
  block_forward(config_, mtp.block, 0, batch, out, executor);
  executor.ops.zero_centered_rms_norm(out, mtp.final_norm.data(), rows, out, executor.context);
  for (const SequenceRows& rows_of_one : batch)
    rows_of_one.state->end(rows_of_one.tokens, rows_of_one.tentative);
}

}  // namespace qround
