// One sequence in progress: its tokens and what the network remembers of them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/engine_options.h"
#include "model/sequence_state.h"

namespace qround {

struct Timeline {
  std::vector<int32_t> tokens;  // the prompt, then the output
  int64_t prompt_tokens = 0;
  SequenceState state;               // of the first state.tokens() tokens
  std::optional<SequenceState> mtp;  // of the MTP head; absent: no drafts for this sequence
  // Final hidden state of the newest token in `state`. The head's row of token t reads it for token
  // t - 1. [H] in the model's memory
  ops::Buffer<float> last_hidden;
  int64_t mtp_next = 1;  // the token whose row comes next; rows may have been left out before it
  std::array<int32_t, DraftOptions::kMaxDepth> drafts{};  // guesses of the tokens after `tokens`
  int n_drafts = 0;

  // Tokens known but not in `state`: one once the prompt is done.
  int64_t pending() const { return static_cast<int64_t>(tokens.size()) - state.tokens(); }
  bool in_prompt() const { return static_cast<int64_t>(tokens.size()) == prompt_tokens; }
};

}  // namespace qround
