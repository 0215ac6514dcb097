// One pass of the network over the next tokens of several timelines, and the drafts for the pass
// after it.
//
// A pass goes: run() takes in tokens (and drafts, tentatively); the caller chooses tokens from
// logits() and tells by keep() how many rows of each timeline stay; draft() runs the MTP head on
// what stayed and guesses further tokens. Hidden states and drafts in the making stay in the
// model's memory; the logits that tokens are chosen from come to the host, and drafts once they are
// all made. Nothing here allocates on a host once buffers have grown.
#pragma once

#include <span>
#include <vector>

#include "engine/timeline.h"
#include "model/int4_copy.h"
#include "model/model.h"

namespace qround {

// A timeline's share of a pass.
struct PassMember {
  Timeline* timeline = nullptr;
  int64_t tokens = 0;        // of timeline->tokens to take in; the drafts come on top
  int64_t first_row = 0;     // in the pass
  int64_t rows = 0;          // tokens and drafts
  int64_t first_logits = 0;  // the row of logits() that follows the last of `tokens`
  int64_t n_logits = 0;      // one and one more for each draft, or none inside a prompt
  int64_t kept = 0;          // rows that are part of the timeline now
  int wanted_drafts = 0;     // for the next pass
  bool finished = false;     // no next pass
};

class BatchPass {
 public:
  // `most_rows` in a pass, of which `most_logits` get logits.
  BatchPass(const Model& model, const Executor& executor, int64_t most_rows, int64_t most_logits);
  // Drafts with an int4 copy of lm_head from now on, where one can be made.
  void make_draft_head();

  // Fills in rows and logits of `members`, whose timelines' drafts are verified. Throws Error
  // (resource) when keys and values have no room; nothing has changed then.
  void run(std::span<PassMember> members);
  // [vocab], in host memory; may be changed.
  std::span<float> logits(int64_t row);
  // The first `count` rows of the member are part of its timeline. The chosen tokens are appended
  // to it before draft().
  void keep(PassMember& member, int64_t count);
  // After all tokens are chosen: catches the head up on the rows that were kept, then makes
  // wanted_drafts drafts for each member.
  void draft(std::span<PassMember> members);

 private:
  void catch_up(std::span<PassMember> members);
  int64_t take_head_rows(PassMember& member);
  void guess(int depth);
  void take_guesses();
  float* copy_rows(const float* from, int64_t rows, float* to);

  const Model& model_;
  Executor executor_;
  std::optional<Int4Copy> int4_head_;
  ops::Buffer<std::byte> int4_head_copy_;  // where the model's memory is not the host's
  ops::Weight draft_head_;

  std::vector<int32_t> ids_;
  std::vector<SequenceRows> batch_;
  ops::Buffer<float> hidden_;       // [rows, H] of the pass
  ops::Buffer<float> head_input_;   // [rows, H]
  ops::Buffer<float> logits_;       // [logit rows, vocab]
  std::vector<float> host_logits_;  // the same on the host, where that is another memory
  ops::Buffer<float> mtp_hidden_;   // [rows, H] of the MTP head
  float* mtp_end_ = nullptr;        // of the rows taken so far
  // Members that draft, with the head's newest output of each in head_input_, in their order.
  std::vector<PassMember*> drafting_;
  ops::Buffer<int32_t> guesses_;  // [depth, drafting_.size()] at that depth
};

}  // namespace qround
