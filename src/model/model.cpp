#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace qround {
namespace {

MtpWeights load_mtp(const Checkpoint& checkpoint, const ModelConfig& config,
                    const TensorTable& table) {
  const auto values = [&](Role role) {
    return stored_values(checkpoint, *table.find(Part::mtp, -1, role));
  };
  return {.embedding_norm = values(Role::mtp_embedding_norm),
          .hidden_norm = values(Role::mtp_hidden_norm),
          .final_norm = values(Role::final_norm),
          .fc = stored_weight(checkpoint, *table.find(Part::mtp, -1, Role::mtp_fc)),
          .block = load_block(checkpoint, config, table, Part::mtp, 0)};
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
  model.embedding_ = std::get<TensorView>(find_stored(files, text(Role::embedding)));
  model.lm_head_ =
      stored_weight(files, text(model.config_.tied_embeddings ? Role::embedding : Role::lm_head));
  model.final_norm_ = stored_values(files, text(Role::final_norm));
  for (size_t block = 0; block < model.config_.mixers.size(); ++block) {
    model.blocks_.push_back(
        load_block(files, model.config_, model.table_, Part::text, static_cast<int64_t>(block)));
  }
  if (census.has_mtp) model.mtp_ = load_mtp(files, model.config_, model.table_);
  return model;
}

void Model::embed(std::span<const int32_t> ids, float* out) const {
  for (const int32_t id : ids) {
    to_f32(embedding_.slice(id), out);
    out += config_.hidden;
  }
}

void Model::forward(std::span<const int32_t> ids, SequenceState& state, float* hidden,
                    const Executor& executor, const Observer& observer) const {
  const auto outside = std::find_if(ids.begin(), ids.end(),
                                    [&](int32_t id) { return id < 0 || id >= config_.vocab; });
  if (outside != ids.end()) {
    throw Error("token id outside the vocabulary")
        .expected(fmt::format("0 to {}", config_.vocab - 1))
        .actual(fmt::format("{}", *outside));
  }
  const auto tokens = static_cast<int64_t>(ids.size());
  const std::span<const float> stream(hidden, static_cast<size_t>(tokens * config_.hidden));
  const auto observe = [&](size_t level) {
    if (observer) observer(static_cast<int64_t>(level), stream);
  };
  embed(ids, hidden);
  observe(0);
  for (size_t block = 0; block < blocks_.size(); ++block) {
    block_forward(config_, blocks_[block], state.blocks[block], state.tokens, tokens, hidden,
                  executor);
    observe(block + 1);
  }
  executor.ops.zero_centered_rms_norm(hidden, final_norm_.data(),
                                      {tokens, config_.hidden, config_.norm_eps}, hidden,
                                      executor.context);
  observe(blocks_.size() + 1);
  state.tokens += tokens;
}

void Model::logits(const float* hidden, int64_t rows, float* logits,
                   const Executor& executor) const {
  executor.ops.linear(lm_head_, hidden, rows, logits, executor.context);
}

void Model::mtp_forward(std::span<const int32_t> next_ids, const float* hidden,
                        int64_t first_position, BlockState& state, float* out,
                        const Executor& executor) const {
  const MtpWeights& mtp = *mtp_;
  const int64_t h = config_.hidden;
  const auto tokens = static_cast<int64_t>(next_ids.size());
  const ops::RmsNormShape rows{tokens, h, config_.norm_eps};
  ops::Workspace::Scope scope(executor.context.workspace);
  const auto embedded = scope.take<float>(static_cast<size_t>(tokens * h));
  const auto normed = scope.take<float>(static_cast<size_t>(tokens * h));
  const auto joined = scope.take<float>(static_cast<size_t>(tokens * 2 * h));
  embed(next_ids, embedded.data());
  executor.ops.zero_centered_rms_norm(embedded.data(), mtp.embedding_norm.data(), rows,
                                      embedded.data(), executor.context);
  executor.ops.zero_centered_rms_norm(hidden, mtp.hidden_norm.data(), rows, normed.data(),
                                      executor.context);
  const auto bytes = static_cast<size_t>(h) * sizeof(float);
  for (int64_t t = 0; t < tokens; ++t) {
    std::memcpy(joined.data() + 2 * t * h, embedded.data() + t * h, bytes);
    std::memcpy(joined.data() + (2 * t + 1) * h, normed.data() + t * h, bytes);
  }
  executor.ops.linear(mtp.fc, joined.data(), tokens, out, executor.context);
  block_forward(config_, mtp.block, state, first_position, tokens, out, executor);
  executor.ops.zero_centered_rms_norm(out, mtp.final_norm.data(), rows, out, executor.context);
}

}  // namespace qround
