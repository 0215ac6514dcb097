#include "eval/drafting.h"

#include "base/error.h"
#include "eval/row_scores.h"

namespace qround::eval {
namespace {

// Of hidden states, in the model's memory.
using Rows = ops::Buffer<float>;

// A text and what the network made of it.
struct GreedyText {
  std::vector<int32_t> ids;  // prompt and continuation
  Rows hidden;               // [ids - 1, H] after the final norm
  int64_t prompt = 0;        // tokens of it
};

class Drafter {
 public:
  Drafter(const Model& model, const Executor& executor, const std::atomic<bool>* stop)
      : model_(model),
        executor_(executor),
        stop_(stop),
        hidden_size_(model.config().hidden),
        logits_(model.memory(), model.config().vocab),
        host_logits_(static_cast<size_t>(model.config().vocab)) {}

  GreedyText continue_greedily(std::span<const int32_t> prompt, int64_t new_tokens) {
    const auto tokens = static_cast<int64_t>(prompt.size()) + new_tokens;
    GreedyText text{{prompt.begin(), prompt.end()},
                    Rows(model_.memory(), tokens * hidden_size_),
                    static_cast<int64_t>(prompt.size())};
    SequenceState state = model_.empty_state();
    size_t read = 0;
    while (text.ids.size() < prompt.size() + static_cast<size_t>(new_tokens)) {
      if (stop_ != nullptr && stop_->load()) throw Error("interrupted", ErrorKind::interrupted);
      const auto unread = std::span<const int32_t>(text.ids).subspan(read);
      model_.forward(unread, state, text.hidden.data() + row(read), executor_);
      read = text.ids.size();
      text.ids.push_back(top_of(text.hidden.data() + row(read - 1)));
    }
    return text;
  }

  void count(const GreedyText& text, DraftingCounts& counts) {
    SequenceState state = model_.empty_mtp_state();
    Rows last(model_.memory(), hidden_size_);  // the head's newest output
    int64_t known = text.prompt;               // the newest token that a step has read or made
    int64_t rows = 0;                          // of the head that read true hidden states
    while (known + counts.depth < static_cast<int64_t>(text.ids.size())) {
      read_true_rows(text, rows, known, state, last);
      rows = known;
      const int64_t accepted = draft(text, known, counts.depth, state, last);
      ++counts.steps;
      for (int64_t i = 0; i < accepted; ++i) ++counts.accepted[static_cast<size_t>(i)];
      known += accepted + 1;
    }
  }

 private:
  void copy_row(const float* from, Rows& to) const {
    model_.memory().copy(to.data(), from, static_cast<size_t>(hidden_size_) * sizeof(float),
                         nullptr);
  }
  size_t row(size_t index) const { return index * static_cast<size_t>(hidden_size_); }

  int32_t top_of(const float* hidden) {
    model_.logits(hidden, 1, logits_.data(), executor_);
    logits_.download(host_logits_);
    return top_token(host_logits_);
  }

  void mtp(std::span<const int32_t> next, const float* hidden, SequenceState& state, float* out) {
    const SequenceRows rows{.state = &state,
                            .tokens = static_cast<int64_t>(next.size()),
                            .first_position = state.tokens()};
    model_.mtp_forward(next, hidden, std::span(&rows, 1), out, executor_);
  }

  // Rows [begin, end): row t reads token t + 1 and the network's hidden state t.
  void read_true_rows(const GreedyText& text, int64_t begin, int64_t end, SequenceState& state,
                      Rows& last) {
    const auto first = static_cast<size_t>(begin), n = static_cast<size_t>(end - begin);
    Rows out(model_.memory(), static_cast<int64_t>(row(n)));
    mtp(std::span<const int32_t>(text.ids).subspan(first + 1, n), text.hidden.data() + row(first),
        state, out.data());
    copy_row(out.data() + row(n - 1), last);
  }

  // Drafts the tokens after `known` and returns how many are right before the first wrong one. The
  // head's state is afterwards as before.
  int64_t draft(const GreedyText& text, int64_t known, int64_t depth, SequenceState& state,
                const Rows& last) {
    const KvPages kept = state.pages().shared(state.tokens());
    const int64_t rows = state.tokens();
    Rows hidden(model_.memory(), hidden_size_);
    copy_row(last.data(), hidden);
    int64_t right = 0;
    while (right < depth) {
      const int32_t drafted = top_of(hidden.data());
      if (drafted != text.ids[static_cast<size_t>(known + right + 1)]) break;
      if (++right == depth) break;
      mtp(std::span(&drafted, 1), hidden.data(), state, hidden.data());
    }
    state.restore(kept, {}, rows);
    return right;
  }

  const Model& model_;
  const Executor& executor_;
  const std::atomic<bool>* stop_;
  int64_t hidden_size_;
  Rows logits_;
  std::vector<float> host_logits_;
};

}  // namespace

double DraftingCounts::tokens_per_step() const {
  if (steps == 0) return 0;
  int64_t tokens = steps;
  for (const int64_t count : accepted) tokens += count;
  return static_cast<double>(tokens) / static_cast<double>(steps);
}

std::vector<DraftingCounts> draft_along(const Model& model,
                                        const std::vector<std::span<const int32_t>>& prompts,
                                        int64_t new_tokens, const Executor& executor,
                                        const std::atomic<bool>* stop) {
  std::vector<DraftingCounts> all;
  for (int64_t depth = 1; depth <= kDraftDepths; ++depth) all.push_back({.depth = depth});
  Drafter drafter(model, executor, stop);
  for (const std::span<const int32_t> prompt : prompts) {
    const GreedyText text = drafter.continue_greedily(prompt, new_tokens);
    for (DraftingCounts& counts : all) drafter.count(text, counts);
  }
  return all;
}

Json to_json(const DraftingCounts& counts) {
  Json::Array accepted;
  for (int64_t i = 0; i < counts.depth; ++i)
    accepted.emplace_back(counts.accepted[static_cast<size_t>(i)]);
  return Json::object({{"depth", counts.depth},
                       {"steps", counts.steps},
                       {"accepted_by_position", Json(std::move(accepted))},
                       {"tokens_per_step", counts.tokens_per_step()}});
}

}  // namespace qround::eval
