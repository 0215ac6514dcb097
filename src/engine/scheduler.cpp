#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "engine/logprobs.h"

namespace qround {
namespace {

constexpr int64_t kMostTopLogprobs = 100;
// Rows beyond a request's tokens that a step may need: its drafts and one more.
constexpr int64_t kSpareRows = 1 + DraftOptions::kMaxDepth;

double seconds_between(Scheduler::Clock::time_point begin, Scheduler::Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

int64_t context_of(const Model& model, const EngineOptions& options, const MemoryPlan& plan) {
  const int64_t most = model.config().max_positions;
  if (options.context > most) {
    throw Error("the context is longer than the model allows")
        .expected(fmt::format("at most {} tokens", most))
        .actual(fmt::format("{}", options.context));
  }
  if (options.context > plan.context_tokens()) {
    throw Error("the context does not fit the state budget", ErrorKind::resource)
        .expected(fmt::format("at most {} tokens", plan.context_tokens()))
        .actual(fmt::format("{}", options.context))
        .hint("raise the budget or shorten the context");
  }
  return std::min(options.context > 0 ? options.context : most, plan.context_tokens());
}

}  // namespace

struct Scheduler::Running {
  std::shared_ptr<RequestRecord> record;
  Timeline line;
  Sampler sampler;
  Usage usage;
  Clock::time_point started, first_token;
  int64_t outputs = 0;                // in the record
  std::vector<int64_t> checkpoints;   // lengths of the prompt to keep, longest first
  std::optional<FinishReason> ended;  // set when its last token is chosen
  std::optional<Error> error;

  const Request& request() const { return record->request(); }
  std::span<const int32_t> output() const {
    return std::span(line.tokens).subspan(static_cast<size_t>(line.prompt_tokens));
  }
};

Scheduler::Scheduler(const Model& model, const ops::OpTable& ops, const EngineOptions& options)
    : model_(model),
      options_(options),
      plan_(plan_memory(model, options)),
      context_(context_of(model, options, plan_)),
      workspace_(model.memory()),
      graphs_(ops.graphs),
      executor_{.ops = ops,
                .context = {options.threads, workspace_, options.activations},
                .graphs = ops.graphs == nullptr ? nullptr : &graphs_},
      pass_(model, executor_,
            std::max<int64_t>(1, options.prefill_chunk) + options.max_sequences * kSpareRows,
            options.max_sequences * kSpareRows),
      depth_(options.drafts),
      cache_(plan_.prefix_cache_bytes) {
  const auto pages = static_cast<int64_t>(plan_.kv_pages);
  kv_pool_ = make_kv_pool(model.config(), model.config().mixers, pages, model.memory());
  kv_pool_->allocate_all();
  const auto most = static_cast<size_t>(options.max_sequences);
  if (model.has_mtp() && options.drafts.depth > 0) {
    mtp_pool_ = make_kv_pool(model.config(), mtp_mixers(), pages, model.memory());
    mtp_pool_->allocate_all();
    if (options.drafts.int4_head) pass_.make_draft_head();
  }
  running_.reserve(most);
  members_.reserve(most);
  member_running_.reserve(most);
  free_states_.reserve(most);
  free_mtp_states_.reserve(most);
  top_.resize(static_cast<size_t>(kMostTopLogprobs));
}

Scheduler::~Scheduler() = default;

void Scheduler::check(const Request& request) const {
  const int64_t vocab = model_.config().vocab;
  const auto tokens = static_cast<int64_t>(request.tokens.size());
  if (tokens == 0) throw Error("the prompt is empty").hint("give at least one token of text");
  if (tokens > context_) {
    throw Error("the prompt is longer than the context")
        .expected(fmt::format("at most {} tokens", context_))
        .actual(fmt::format("{}", tokens))
        .hint("shorten the prompt or raise --ctx");
  }
  const auto require_in_vocabulary = [&](int32_t token) {
    if (token >= 0 && token < vocab) return;
    throw Error("token id outside the vocabulary")
        .expected(fmt::format("0 to {}", vocab - 1))
        .actual(fmt::format("{}", token));
  };
  for (const int32_t token : request.tokens) require_in_vocabulary(token);
  for (const LogitBias& one : request.logit_bias) {
    require_in_vocabulary(one.token);
    if (std::abs(one.bias) <= 100) continue;
    throw Error("bad value of logit bias")
        .expected("-100 to 100")
        .actual(fmt::format("{}", one.bias));
  }
  request.sampling.validate();
  if (request.max_tokens < 1) {
    throw Error("too few tokens asked for")
        .expected("1 or more")
        .actual(fmt::format("{}", request.max_tokens));
  }
  const int64_t top = request.top_logprobs.value_or(0);
  if (top < 0 || top > std::min(kMostTopLogprobs, vocab)) {
    throw Error("bad number of log-probabilities")
        .expected(fmt::format("0 to {}", std::min(kMostTopLogprobs, vocab)))
        .actual(fmt::format("{}", top));
  }
}

std::shared_ptr<RequestRecord> Scheduler::record(Request request) const {
  // The last token of the output need not be taken in.
  const int64_t room = context_ + 1 - static_cast<int64_t>(request.tokens.size());
  const int64_t most = std::min(request.max_tokens, room);
  return std::make_shared<RequestRecord>(std::move(request), most);
}

void Scheduler::add(std::shared_ptr<RequestRecord> record) {
  ++totals_.submitted;
  queue_.push_back(std::move(record));
}

bool Scheduler::drafts_possible(const Request& request) const {
  return mtp_pool_ != nullptr && request.mtp_drafts.value_or(1) > 0;
}

// --- Requests come in.

void Scheduler::admit() {
  std::erase_if(queue_, [&](const std::shared_ptr<RequestRecord>& record) {
    if (!record->cancel_wanted()) return false;
    ++totals_.cancelled;
    record->finish(
        {.reason = FinishReason::cancelled,
         .usage = {.prompt_tokens = static_cast<int64_t>(record->request().tokens.size()),
                   .queue_seconds = seconds_between(record->submitted(), Clock::now())},
         .error = std::nullopt});
    return true;
  });
  while (!queue_.empty() && static_cast<int64_t>(running_.size()) < options_.max_sequences)
    if (!admit_next()) return;
}

// Whether all pages for `tokens` tokens of the request can be had, now that kept prefixes may have
// to go for it.
bool Scheduler::has_room(const RequestRecord& record, int64_t tokens) {
  const Request& request = record.request();
  do {
    const KeptPrefix* prefix =
        cache_.find(request.tokens, static_cast<int64_t>(request.tokens.size()) - 1);
    const auto fits = [&](const KvPool& pool, int64_t shared_rows) {
      return pages_for(tokens) - shared_rows / kKvPageTokens <= pool.unused_pages();
    };
    const bool room = fits(*kv_pool_, prefix ? static_cast<int64_t>(prefix->tokens.size()) : 0);
    if (room && (!drafts_possible(request) || fits(*mtp_pool_, prefix ? prefix->mtp_rows : 0)))
      return true;
  } while (cache_.drop_oldest());
  return false;
}

bool Scheduler::admit_next() {
  const std::shared_ptr<RequestRecord> record = queue_.front();
  const int64_t tokens =
      static_cast<int64_t>(record->request().tokens.size()) + record->most_tokens() + kSpareRows;
  if (!has_room(*record, tokens)) return false;
  queue_.pop_front();
  std::unique_ptr<Running> running = start(record);
  running->line.state.reserve(kSpareRows, tokens);
  running->line.state.take_pages(tokens);
  if (running->line.mtp) {
    running->line.mtp->reserve(0, tokens);
    running->line.mtp->take_pages(tokens);
  }
  plan_checkpoints(*running);
  running_.push_back(std::move(running));
  return true;
}

std::unique_ptr<Scheduler::Running> Scheduler::start(std::shared_ptr<RequestRecord> record) {
  const ModelConfig& config = model_.config();
  const auto take = [&](std::vector<SequenceState>& free, std::span<const MixerKind> mixers,
                        const std::shared_ptr<KvPool>& pool) {
    if (free.empty()) return SequenceState(config, mixers, pool);
    SequenceState state = std::move(free.back());
    free.pop_back();
    return state;
  };
  const Request& request = record->request();
  Timeline line{.tokens = {},
                .prompt_tokens = static_cast<int64_t>(request.tokens.size()),
                .state = take(free_states_, config.mixers, kv_pool_),
                .mtp = std::nullopt,
                .last_hidden = {model_.memory(), config.hidden}};
  if (drafts_possible(request)) line.mtp = take(free_mtp_states_, mtp_mixers(), mtp_pool_);
  const auto outputs = static_cast<size_t>(record->most_tokens());
  line.tokens.reserve(request.tokens.size() + outputs);
  line.tokens = request.tokens;
  auto running = std::make_unique<Running>(
      Running{.record = record,
              .line = std::move(line),
              .sampler = Sampler(request.sampling, request.tokens, request.logit_bias),
              .started = Clock::now()});
  running->sampler.reserve(static_cast<size_t>(config.vocab), outputs);
  running->usage.prompt_tokens = running->line.prompt_tokens;
  running->usage.queue_seconds = seconds_between(record->submitted(), running->started);
  const KeptPrefix* prefix = cache_.find(request.tokens, running->line.prompt_tokens - 1);
  if (prefix != nullptr) restore(*running, *prefix);
  ++(prefix != nullptr ? totals_.cache_hits : totals_.cache_misses);
  return running;
}

void Scheduler::restore(Running& running, const KeptPrefix& prefix) {
  const auto tokens = static_cast<int64_t>(prefix.tokens.size());
  Timeline& line = running.line;
  line.state.restore(prefix.pages, prefix.recurrent, tokens);
  line.last_hidden.copy_from(prefix.last_hidden);
  if (line.mtp && prefix.mtp_pages) {
    line.mtp->restore(*prefix.mtp_pages, {}, prefix.mtp_rows);
    line.mtp_next = prefix.mtp_next;
  }
  running.usage.cached_tokens = tokens;
  totals_.cached_tokens += tokens;
}

void Scheduler::plan_checkpoints(Running& running) const {
  const int64_t begin = running.line.state.tokens(), end = running.line.prompt_tokens;
  const auto keep = [&](int64_t length) {
    if (length > begin && length <= end) running.checkpoints.push_back(length);
  };
  for (const int64_t border : running.request().borders) keep(border);
  const int64_t step = options_.checkpoint_tokens;
  for (int64_t length = step; step > 0 && length < end; length += step) keep(length);
  std::vector<int64_t>& all = running.checkpoints;
  std::sort(all.begin(), all.end(), std::greater<>());
  all.erase(std::unique(all.begin(), all.end()), all.end());
}

// --- A pass.

int64_t Scheduler::next_piece(const Running& running, int64_t room) const {
  const Timeline& line = running.line;
  int64_t piece = std::min(room, line.prompt_tokens - line.state.tokens());
  if (!running.checkpoints.empty())
    piece = std::min(piece, running.checkpoints.back() - line.state.tokens());
  return piece;
}

bool Scheduler::plan_pass() {
  members_.clear();
  member_running_.clear();
  const auto take = [&](Running& running, int64_t tokens) {
    members_.push_back({.timeline = &running.line, .tokens = tokens});
    member_running_.push_back(&running);
  };
  for (const std::unique_ptr<Running>& running : running_)
    if (running->line.state.tokens() >= running->line.prompt_tokens) take(*running, 1);
  int64_t room = std::max<int64_t>(1, options_.prefill_chunk);
  for (const std::unique_ptr<Running>& running : running_) {
    if (running->line.state.tokens() >= running->line.prompt_tokens || room == 0) continue;
    const int64_t piece = next_piece(*running, room);
    room -= piece;
    take(*running, piece);
  }
  return !members_.empty();
}

bool Scheduler::step() {
  admit();
  for (const std::unique_ptr<Running>& running : running_)
    if (running->record->cancel_wanted()) running->ended = FinishReason::cancelled;
  end_finished();
  if (!plan_pass()) return false;

  const Clock::time_point begin = Clock::now();
  pass_.run(members_);
  int64_t rows = 0;
  bool only_decodes = true;
  for (size_t i = 0; i < members_.size(); ++i) {
    rows += members_[i].rows;
    const bool decodes = member_running_[i]->outputs > 0;
    only_decodes = only_decodes && decodes;
    if (!decodes) totals_.prompt_tokens += members_[i].tokens;
    choose_tokens(*member_running_[i], members_[i]);
  }
  const Clock::time_point chosen = Clock::now();
  if (only_decodes) depth_.record_pass(rows, seconds_between(begin, chosen));
  plan_drafts();
  pass_.draft(members_);
  const Clock::time_point drafted = Clock::now();
  int depth = 0;
  for (const PassMember& member : members_) depth = std::max(depth, member.wanted_drafts);
  if (only_decodes && depth > 0)
    depth_.record_drafting(static_cast<int64_t>(members_.size()), depth,
                           seconds_between(chosen, drafted));
  keep_prefixes();
  ++totals_.passes;
  totals_.busy_seconds += seconds_between(begin, Clock::now());
  end_finished();
  return true;
}

// --- Tokens.

void Scheduler::choose_tokens(Running& running, PassMember& member) {
  Timeline& line = running.line;
  const int n_drafts = line.n_drafts;
  const auto drafts = line.drafts;
  int accepted = 0;
  for (int64_t row = 0; row < member.n_logits; ++row) {
    choose_token(running, pass_.logits(member.first_logits + row));
    if (running.ended) break;
    if (accepted == n_drafts || line.tokens.back() != drafts[static_cast<size_t>(accepted)]) break;
    ++accepted;
  }
  pass_.keep(member, member.tokens + accepted);
  member.finished = running.ended.has_value();
  if (n_drafts == 0) return;
  running.usage.drafted_tokens += n_drafts;
  running.usage.accepted_tokens += accepted;
  for (int i = 0; i < n_drafts; ++i) {
    ++totals_.drafted[static_cast<size_t>(i)];
    totals_.accepted[static_cast<size_t>(i)] += i < accepted;
  }
  if (!running.ended) depth_.record_drafts(n_drafts, accepted);
}

void Scheduler::choose_token(Running& running, std::span<float> logits) {
  const Request& request = running.request();
  try {
    if (request.constrain) request.constrain(running.output(), logits);
    running.sampler.adjust(logits);
    const int32_t token = running.sampler.choose(logits);
    if (running.usage.output_tokens++ == 0) running.first_token = Clock::now();
    ++totals_.output_tokens;
    const auto& stops = request.stop_tokens;
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
      running.ended = FinishReason::stop_token;
      return;
    }
    record_token(running, logits, token);
    if (request.on_token && !request.on_token(token)) {
      running.ended = FinishReason::stop_requested;
    } else if (running.outputs == request.max_tokens) {
      running.ended = FinishReason::length;
    } else if (running.outputs == running.record->most_tokens()) {
      running.ended = FinishReason::context_full;
    }
  } catch (const Error& error) {
    fail(running, error);
  } catch (const std::exception& error) {
    fail(running, Error(error.what()));
  }
}

void Scheduler::record_token(Running& running, std::span<const float> logits, int32_t token) {
  running.line.tokens.push_back(token);
  ++running.outputs;
  if (!running.request().top_logprobs) return running.record->add(token, 0, {});
  const auto top = std::span(top_).first(static_cast<size_t>(*running.request().top_logprobs));
  const float logprob = logprobs(logits, token, top);
  running.record->add(token, logprob, top);
}

void Scheduler::plan_drafts() {
  int64_t drafting = 0;
  for (size_t i = 0; i < members_.size(); ++i)
    drafting += members_[i].n_logits > 0 && !members_[i].finished &&
                member_running_[i]->line.mtp.has_value();
  if (drafting == 0) return;
  const int depth = depth_.choose(drafting);
  for (size_t i = 0; i < members_.size(); ++i) {
    const Running& running = *member_running_[i];
    if (members_[i].n_logits == 0 || members_[i].finished || !running.line.mtp) continue;
    const int64_t left = running.record->most_tokens() - running.outputs;
    const int wanted = std::min(depth, running.request().mtp_drafts.value_or(depth));
    members_[i].wanted_drafts = static_cast<int>(std::clamp<int64_t>(left - 1, 0, wanted));
  }
}

// --- Prefixes and ends.

void Scheduler::keep_prefixes() {
  for (size_t i = 0; i < members_.size(); ++i) {
    Running& running = *member_running_[i];
    std::vector<int64_t>& checkpoints = running.checkpoints;
    const bool at_checkpoint =
        !checkpoints.empty() && checkpoints.back() == running.line.state.tokens();
    if (at_checkpoint) checkpoints.pop_back();
    const bool completed = running.ended && *running.ended != FinishReason::failed;
    if (at_checkpoint || completed) keep_prefix(running);
  }
}

void Scheduler::keep_prefix(Running& running) {
  Timeline& line = running.line;
  const int64_t tokens = line.state.tokens();
  const auto known = std::span<const int32_t>(line.tokens).first(static_cast<size_t>(tokens));
  const auto bytes = sizeof(float) * static_cast<uint64_t>(recurrent_floats(model_.config()) +
                                                           model_.config().hidden + tokens);
  if (bytes > cache_.most_bytes() || cache_.holds(known)) return;
  model_.settle(line.state, executor_);
  KeptPrefix prefix{.tokens = std::vector<int32_t>(known.begin(), known.end()),
                    .pages = line.state.pages().shared(tokens),
                    .recurrent = line.state.recurrent_copy(),
                    .last_hidden = {model_.memory(), line.last_hidden.size()},
                    .mtp_pages = std::nullopt};
  prefix.last_hidden.copy_from(line.last_hidden);
  if (line.mtp) {
    // Without the rows that read tokens beyond.
    prefix.mtp_rows = line.mtp->tokens() - std::max<int64_t>(0, line.mtp_next - tokens);
    prefix.mtp_next = std::min(line.mtp_next, tokens);
    prefix.mtp_pages = line.mtp->pages().shared(prefix.mtp_rows);
  }
  cache_.insert(std::move(prefix));
}

void Scheduler::fail(Running& running, const Error& error) {
  running.ended = FinishReason::failed;
  running.error = error;
}

void Scheduler::end_finished() {
  for (const std::unique_ptr<Running>& running : running_)
    if (running->ended) finish(*running);
  std::erase_if(running_, [](const auto& running) { return running->ended.has_value(); });
}

void Scheduler::finish(Running& running) {
  const Clock::time_point now = Clock::now();
  Usage& usage = running.usage;
  const bool spoke = usage.output_tokens > 0;
  usage.prefill_seconds = seconds_between(running.started, spoke ? running.first_token : now);
  usage.decode_seconds = spoke ? seconds_between(running.first_token, now) : 0;
  const FinishReason reason = *running.ended;
  ++(reason == FinishReason::cancelled ? totals_.cancelled
     : reason == FinishReason::failed  ? totals_.failed
                                       : totals_.finished);
  running.line.state.clear();
  free_states_.push_back(std::move(running.line.state));
  if (running.line.mtp) {
    running.line.mtp->clear();
    free_mtp_states_.push_back(std::move(*running.line.mtp));
  }
  running.record->finish({.reason = reason, .usage = usage, .error = std::move(running.error)});
}

void Scheduler::cancel_all() {
  for (const std::shared_ptr<RequestRecord>& record : queue_) record->cancel();
  for (const std::unique_ptr<Running>& running : running_) running->ended = FinishReason::cancelled;
  end_finished();
  admit();
}

void Scheduler::fail_all(const Error& error) {
  for (const std::unique_ptr<Running>& running : running_) fail(*running, error);
  end_finished();
}

EngineMetrics Scheduler::metrics() const {
  EngineMetrics metrics = totals_;
  metrics.queued = queued();
  metrics.running = static_cast<int64_t>(running_.size());
  metrics.kv_pages = kv_pool_->max_pages();
  metrics.kv_pages_used = kv_pool_->max_pages() - kv_pool_->unused_pages();
  metrics.cache_entries = cache_.size();
  metrics.cache_bytes = static_cast<int64_t>(cache_.bytes());
  return metrics;
}

}  // namespace qround
