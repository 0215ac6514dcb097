// How a text is cut into windows and which rows of each window are scored. Perplexities of one
// model under two protocols differ by more than quantization does, so a figure without its protocol
// says nothing; the protocols others use have names here.
//
// Row r of a window is the network's output after reading the window's tokens 0..r; it predicts
// token r + 1.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace qround::eval {

struct Protocol {
  std::string name;
  int64_t context = 0;             // tokens of a window
  int64_t stride = 0;              // tokens from the start of a window to the start of the next
  int64_t warm_up = 0;             // rows at a window's start that only give context
  bool new_tokens_only = false;    // a token that an earlier window predicted is not scored again
  bool partial_window = false;     // the shorter window at the text's end is kept
  bool compares_last_row = false;  // distributions are compared on a window's last row too, whose
                                   // next token lies outside the window
  std::optional<int32_t> bos;      // put in place of each window's first token
  int64_t max_windows = 0;         // 0: all
};

// "windows": 256 tokens apart and long, all rows. "llama.cpp": 512 apart and long, rows 256 to 510,
// as its perplexity tool does. "hf": 2048 long, 512 apart, each token scored once with the longest
// context, as Hugging Face's documentation does; with --stride 2048 the convention of quantization
// papers. Throws Error listing the names.
Protocol protocol_named(std::string_view name);

// One sentence with all numbers.
std::string describe(const Protocol& protocol);
Json to_json(const Protocol& protocol);

struct Window {
  int64_t begin = 0;        // of its tokens in WindowedText::tokens
  int64_t length = 0;       // tokens
  int64_t first_row = 0;    // first scored row
  int64_t target_end = 0;   // rows [first_row, target_end) predict a token of this window
  int64_t compare_end = 0;  // rows [first_row, compare_end) are compared: target_end or one more

  int64_t targets() const { return target_end - first_row; }
  int64_t compared() const { return compare_end - first_row; }
};

// Windows and their tokens, one window after the other; overlapping windows hold copies.
struct WindowedText {
  std::vector<int32_t> tokens;
  std::vector<Window> windows;
  int64_t text_tokens = 0;  // of the whole text

  std::span<const int32_t> ids(const Window& window) const {
    return std::span(tokens).subspan(static_cast<size_t>(window.begin),
                                     static_cast<size_t>(window.length));
  }
};

// Throws Error when the text has too few tokens for one window or the protocol's numbers make no
// sense.
WindowedText cut_windows(std::span<const int32_t> text, const Protocol& protocol);

}  // namespace qround::eval
