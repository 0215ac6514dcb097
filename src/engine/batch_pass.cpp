#include "engine/batch_pass.h"

#include <algorithm>

namespace qround {
namespace {

size_t floats(int64_t rows, int64_t width) { return static_cast<size_t>(rows * width); }

}  // namespace

BatchPass::BatchPass(const Model& model, const Executor& executor, int64_t most_rows,
                     int64_t most_logits)
    : model_(model), executor_(executor), draft_head_(model.lm_head()) {
  const int64_t h = model.config().hidden;
  // A pass of the head may have one more row for each timeline than the pass before it.
  const int64_t most_mtp_rows = most_rows + most_logits;
  ids_.reserve(static_cast<size_t>(most_mtp_rows));
  batch_.reserve(static_cast<size_t>(most_logits));
  drafting_.reserve(static_cast<size_t>(most_logits));
  hidden_.resize(floats(most_rows, h));
  head_input_.resize(floats(most_logits, h));
  logits_.resize(floats(most_logits, model.config().vocab));
  mtp_hidden_.reserve(model.has_mtp() ? floats(most_mtp_rows, h) : 0);
}

void BatchPass::make_draft_head() {
  int4_head_ = Int4Copy::of(model_.lm_head(), executor_.context.threads);
  if (int4_head_) draft_head_ = int4_head_->weight();
}

std::span<float> BatchPass::logits(int64_t row) {
  const int64_t vocab = model_.config().vocab;
  return {logits_.data() + row * vocab, static_cast<size_t>(vocab)};
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
  for (PassMember& member : members) {
    const Timeline& line = *member.timeline;
    const int64_t known = line.state.tokens() - line.n_drafts;
    member.first_logits = n_logits;
    member.n_logits = known == static_cast<int64_t>(line.tokens.size()) ? 1 + line.n_drafts : 0;
    std::copy_n(hidden_.data() + (member.first_row + member.rows - member.n_logits) * h,
                member.n_logits * h, head_input_.data() + n_logits * h);
    n_logits += member.n_logits;
  }
  if (n_logits > 0) model_.logits(head_input_.data(), n_logits, logits_.data(), executor_);
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
    std::copy_n(hidden_.data() + (member.first_row + member.kept - 1) * h, h,
                member.timeline->last_hidden.data());
  int deepest = 0;
  for (const PassMember* member : drafting_) deepest = std::max(deepest, member->wanted_drafts);
  for (int depth = 0; depth < deepest; ++depth) guess(depth);
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
  for (int64_t t = first; t <= last; ++t) {
    const float* hidden = t > begin ? hidden_.data() + (member.first_row + t - 1 - begin) * h
                                    : line.last_hidden.data();
    ids_.push_back(line.tokens[static_cast<size_t>(t)]);
    mtp_hidden_.insert(mtp_hidden_.end(), hidden, hidden + h);
  }
  if (last < first) return 0;
  batch_.push_back({.state = &*line.mtp, .tokens = last - first + 1, .first_position = first - 1});
  line.mtp_next = last + 1;
  return last - first + 1;
}

void BatchPass::catch_up(std::span<PassMember> members) {
  const int64_t h = model_.config().hidden;
  ids_.clear();
  batch_.clear();
  mtp_hidden_.clear();
  drafting_.clear();
  int64_t n_rows = 0, n_drafting = 0;
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
  for (const PassMember* member : drafting_)
    std::copy_n(mtp_hidden_.data() + member->first_logits * h, h,
                head_input_.data() + n_drafting++ * h);
}

// The next draft of every member that wants one more than `depth`, from the head's newest outputs.
void BatchPass::guess(int depth) {
  const int64_t h = model_.config().hidden;
  // Members that want no more leave; the outputs of the others move up.
  size_t kept = 0;
  batch_.clear();
  ids_.clear();
  for (size_t i = 0; i < drafting_.size(); ++i) {
    if (drafting_[i]->wanted_drafts <= depth) continue;
    std::copy_n(head_input_.data() + static_cast<int64_t>(i) * h, h,
                head_input_.data() + static_cast<int64_t>(kept) * h);
    std::swap(drafting_[kept++], drafting_[i]);
  }
  const auto rows = static_cast<int64_t>(kept);
  if (depth > 0) {
    for (size_t i = 0; i < kept; ++i) {
      Timeline& line = *drafting_[i]->timeline;
      ids_.push_back(line.drafts[static_cast<size_t>(depth - 1)]);
      batch_.push_back({.state = &*line.mtp,
                        .tokens = 1,
                        .first_position = static_cast<int64_t>(line.tokens.size()) - 2 + depth});
    }
    model_.mtp_forward(ids_, head_input_.data(), batch_, head_input_.data(), executor_);
  }
  executor_.ops.linear(draft_head_, head_input_.data(), rows, logits_.data(), executor_.context);
  for (size_t i = 0; i < kept; ++i) {
    const std::span<const float> guesses = logits(static_cast<int64_t>(i));
    Timeline& line = *drafting_[i]->timeline;
    const auto likeliest = std::max_element(guesses.begin(), guesses.end());
    line.drafts[static_cast<size_t>(line.n_drafts++)] =
        static_cast<int32_t>(likeliest - guesses.begin());
  }
}

}  // namespace qround
