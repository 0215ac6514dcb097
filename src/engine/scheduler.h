// Decides what each pass of the network works on, and chooses tokens.
//
// A request waits in the queue until a sequence state and all pages it can ever need are free, so
// that a running one never runs out. Every pass takes the next token of each request that decodes,
// with its drafts, and a piece of the prompts of those that do not yet: first come, first served.
// Belongs to one thread; the records' other ends belong to their callers.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "engine/batch_pass.h"
#include "engine/draft_depth.h"
#include "engine/prefix_cache.h"
#include "engine/request_record.h"
#include "engine/sampler.h"

namespace qround {

class Scheduler {
 public:
  using Clock = RequestRecord::Clock;

  // `model` must outlive it, its weights in the memory of `ops`. Throws Error (resource) when the
  // states do not fit the budget.
  Scheduler(const Model& model, const ops::OpTable& ops, const EngineOptions& options);
  ~Scheduler();

  // Most tokens of one request.
  int64_t context() const { return context_; }
  // Throws Error (input) for a request that can never run.
  void check(const Request& request) const;
  // A record for a checked request; thread-safe, as check is.
  std::shared_ptr<RequestRecord> record(Request request) const;

  void add(std::shared_ptr<RequestRecord> record);
  // Does one pass. False when there is nothing to do.
  bool step();
  // Ends everything.
  void cancel_all();
  void fail_all(const Error& error);

  EngineMetrics metrics() const;
  const MemoryPlan& memory_plan() const { return plan_; }
  int64_t queued() const { return static_cast<int64_t>(queue_.size()); }

 private:
  struct Running;

  void admit();
  bool admit_next();
  std::unique_ptr<Running> start(std::shared_ptr<RequestRecord> record);
  bool has_room(const RequestRecord& record, int64_t tokens);
  void restore(Running& running, const KeptPrefix& prefix);
  void plan_checkpoints(Running& running) const;
  bool plan_pass();
  int64_t next_piece(const Running& running, int64_t room) const;
  void choose_tokens(Running& running, PassMember& member);
  void choose_token(Running& running, std::span<float> logits);
  void record_token(Running& running, std::span<const float> logits, int32_t token);
  void plan_drafts();
  void keep_prefixes();
  void keep_prefix(Running& running);
  void end_finished();
  void fail(Running& running, const Error& error);
  void finish(Running& running);
  bool drafts_possible(const Request& request) const;

  const Model& model_;
  const EngineOptions options_;
  const MemoryPlan plan_;
  int64_t context_ = 0;
  ops::Workspace workspace_;
  PassGraphs graphs_;
  Executor executor_;
  BatchPass pass_;
  DraftDepth depth_;
  PrefixCache cache_;
  std::shared_ptr<KvPool> kv_pool_, mtp_pool_;
  std::vector<SequenceState> free_states_, free_mtp_states_;

  std::deque<std::shared_ptr<RequestRecord>> queue_;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<PassMember> members_;       // of the pass at hand
  std::vector<Running*> member_running_;  // whose they are
  std::vector<TokenLogprob> top_;
  EngineMetrics totals_;
};

}  // namespace qround
