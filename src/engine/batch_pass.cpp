#include "engine/batch_pass.h"

#include <algorithm>

#include "model/weight_upload.h"

namespace qround {
BatchPass::BatchPass(const Model& model, const Executor& executor, int64_t most_rows,
                     int64_t most_logits)
    : model_(model), executor_(executor), draft_head_(model.lm_head()) {
  const ops::Memory& memory = model.memory();
  const int64_t h = model.config().hidden, vocab = model.config().vocab;
  // A pass of the head may have one more row for each timeline than the pass before it.
  const int64_t most_mtp_rows = most_rows + most_logits;
  ids_.reserve(static_cast<size_t>(most_mtp_rows));
  batch_.reserve(static_cast<size_t>(most_logits));
  drafting_.reserve(static_cast<size_t>(most_logits));
  hidden_ = {memory, most_rows * h};
  head_input_ = {memory, most_logits * h};
  logits_ = {memory, most_logits * vocab};
  if (!memory.is_host) host_logits_.resize(static_cast<size_t>(most_logits * vocab));
  mtp_hidden_ = {memory, model.has_mtp() ? most_mtp_rows * h : 0};
  guesses_ = {memory, DraftOptions::kMaxDepth * most_logits};
}

void BatchPass::make_draft_head() {
  int4_head_ = Int4Copy::of(model_.mapped_lm_head(), executor_.context.threads);
  if (!int4_head_) return;
  draft_head_ = int4_head_->weight();
  if (model_.memory().is_host) return;
  WeightUpload upload;
  upload.add(draft_head_);
  int4_head_copy_ = upload.upload(model_.memory());
  int4_head_.reset();
}

// Copies rows of hidden states and returns the place after the copy.
float* BatchPass::copy_rows(const float* from, int64_t rows, float* to) {
  const int64_t count = rows * model_.config().hidden;
  if (count > 0)
    model_.memory().copy(to, from, static_cast<size_t>(count) * sizeof(float),
                         executor_.context.stream);
  return to + count;
}

std::span<float> BatchPass::logits(int64_t row) {
  const int64_t vocab = model_.config().vocab;
  float* all = model_.memory().is_host ? logits_.data() : host_logits_.data();
  return {all + row * vocab, static_cast<size_t>(vocab)};
}

void BatchPass::run(std::span<PassMember> members) {
  const int64_t h = model_.config().hidden;
  ids_.clear();
  batch_.clear();
  for (PassMember& member : members) {
    Timeline& line = *member.timeline;
    member.first_row = static_cast<int64_t>(ids_.size());
    const auto first = line.tokens.begin() + line.state.tokens();
    ids_.insert(ids_.end(), first, first + member.tokens);
    ids_.insert(ids_.end(), line.drafts.begin(), line.drafts.begin() + line.n_drafts);
    member.rows = member.tokens + line.n_drafts;
    batch_.push_back({.state = &line.state,
                      .tokens = member.rows,
                      .first_position = line.state.tokens(),
                      .tentative = line.n_drafts > 0});
  }
  model_.forward(ids_, batch_, hidden_.data(), executor_);
  int64_t n_logits = 0;
  float* head_end = head_input_.data();
  for (PassMember& member : members) {
    const Timeline& line = *member.timeline;
    const int64_t known = line.state.tokens() - line.n_drafts;
    member.first_logits = n_logits;
    member.n_logits = known == static_cast<int64_t>(line.tokens.size()) ? 1 + line.n_drafts : 0;
    head_end = copy_rows(hidden_.data() + (member.first_row + member.rows - member.n_logits) * h,
                         member.n_logits, head_end);
    n_logits += member.n_logits;
  }
  if (n_logits == 0) return;
  model_.logits(head_input_.data(), n_logits, logits_.data(), executor_);
  if (model_.memory().is_host) return;
  const auto bytes = static_cast<size_t>(n_logits * model_.config().vocab) * sizeof(float);
  model_.memory().download(host_logits_.data(), logits_.data(), bytes, executor_.context.stream);
}

void BatchPass::keep(PassMember& member, int64_t count) {
  Timeline& line = *member.timeline;
  if (line.n_drafts > 0) line.state.accept(count);
  line.n_drafts = 0;
  member.kept = count;
}

void BatchPass::draft(std::span<PassMember> members) {
  const int64_t h = model_.config().hidden;
  catch_up(members);
  for (PassMember& member : members)
    copy_rows(hidden_.data() + (member.first_row + member.kept - 1) * h, 1,
              member.timeline->last_hidden.data());
  if (drafting_.empty()) return;
  for (int depth = 0; depth < drafting_.front()->wanted_drafts; ++depth) guess(depth);
  take_guesses();
  for (PassMember* member : drafting_) {
    Timeline& line = *member->timeline;
    line.mtp->truncate(line.mtp->tokens() - std::max(0, line.n_drafts - 1));
  }
}

// Gathers the rows of the MTP head that the member's kept rows make possible: that of token t reads
// the hidden state of token t - 1. Returns their number.
int64_t BatchPass::take_head_rows(PassMember& member) {
  Timeline& line = *member.timeline;
  const int64_t h = model_.config().hidden;
  const int64_t end = line.state.tokens(), begin = end - member.kept;
  const bool decodes = member.n_logits > 0 && member.tokens == 1;
  if (!line.mtp || member.finished || (decodes && member.wanted_drafts == 0)) return 0;
  const int64_t first = std::max<int64_t>({line.mtp_next, begin, 1});
  const int64_t last = std::min(static_cast<int64_t>(line.tokens.size()) - 1, end);
  if (last < first) return 0;
  ids_.insert(ids_.end(), line.tokens.begin() + first, line.tokens.begin() + last + 1);
  const bool from_before = first == begin;  // the first row reads a state of an earlier pass
  if (from_before) mtp_end_ = copy_rows(line.last_hidden.data(), 1, mtp_end_);
  const int64_t first_of_pass = first + (from_before ? 1 : 0);
  mtp_end_ = copy_rows(hidden_.data() + (member.first_row + first_of_pass - 1 - begin) * h,
                       last + 1 - first_of_pass, mtp_end_);
  batch_.push_back({.state = &*line.mtp, .tokens = last - first + 1, .first_position = first - 1});
  line.mtp_next = last + 1;
  return last - first + 1;
}

void BatchPass::catch_up(std::span<PassMember> members) {
  const int64_t h = model_.config().hidden;
  ids_.clear();
  batch_.clear();
  drafting_.clear();
  mtp_end_ = mtp_hidden_.data();
  int64_t n_rows = 0;
  for (PassMember& member : members) {
    const int64_t taken = take_head_rows(member);
    n_rows += taken;
    const Timeline& line = *member.timeline;
    const bool whole = line.mtp_next == static_cast<int64_t>(line.tokens.size());
    if (taken == 0 || member.wanted_drafts == 0 || member.n_logits == 0 || !whole) continue;
    drafting_.push_back(&member);
    // The place of its last row, until the head has run.
    member.first_logits = n_rows - 1;
  }
  if (n_rows == 0) return;
  model_.mtp_forward(ids_, mtp_hidden_.data(), batch_, mtp_hidden_.data(), executor_);
  // Those that want most come first: who leaves at some depth leaves at the end.
  std::sort(drafting_.begin(), drafting_.end(), [](const PassMember* a, const PassMember* b) {
    return a->wanted_drafts != b->wanted_drafts ? a->wanted_drafts > b->wanted_drafts
                                                : a->first_logits < b->first_logits;
  });
  float* end = head_input_.data();
  for (const PassMember* member : drafting_)
    end = copy_rows(mtp_hidden_.data() + member->first_logits * h, 1, end);
}

// The next draft of every member that wants one more than `depth`, from the head's newest outputs.
void BatchPass::guess(int depth) {
  batch_.clear();
  for (const PassMember* member : drafting_) {
    if (member->wanted_drafts <= depth) break;
    Timeline& line = *member->timeline;
    batch_.push_back({.state = &*line.mtp,
                      .tokens = 1,
                      .first_position = static_cast<int64_t>(line.tokens.size()) - 2 + depth});
  }
  const auto rows = static_cast<int64_t>(batch_.size());
  const auto most = static_cast<int64_t>(drafting_.size());
  if (depth > 0)
    model_.mtp_forward_from(guesses_.data() + (depth - 1) * most, head_input_.data(), batch_,
                            head_input_.data(), executor_);
  executor_.ops.linear(draft_head_, head_input_.data(), rows, logits_.data(), executor_.context);
  executor_.ops.largest_in_rows({.x = logits_.data(),
                                 .places = guesses_.data() + depth * most,
                                 .rows = rows,
                                 .width = model_.config().vocab},
                                executor_.context);
}

void BatchPass::take_guesses() {
  const size_t most = drafting_.size();
  const auto depths = static_cast<size_t>(drafting_.front()->wanted_drafts);
  ids_.resize(most * depths);
  model_.memory().download(ids_.data(), guesses_.data(), ids_.size() * sizeof(int32_t),
                           executor_.context.stream);
  for (size_t i = 0; i < most; ++i) {
    Timeline& line = *drafting_[i]->timeline;
    for (size_t depth = 0; depth < static_cast<size_t>(drafting_[i]->wanted_drafts); ++depth)
      line.drafts[static_cast<size_t>(line.n_drafts++)] = ids_[depth * most + i];
  }
}

}  // namespace qround
