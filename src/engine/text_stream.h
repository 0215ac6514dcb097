// The text of an output as its tokens come: whole characters, ended by stop strings.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/stop_matcher.h"
#include "tokenizer/streaming_decoder.h"

namespace qround {

// The tokenizer must outlive it.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, bool skip_special)
      : decoder_(tokenizer, skip_special), stops_(std::move(stops)) {}

  // The text that may be shown once `token` is there.
  std::string push(int32_t token) { return stops_.push(decoder_.push(token)); }
  // The rest, at the end of an output.
  std::string finish() {
    std::string rest = stops_.push(decoder_.flush());
    return rest + stops_.flush();
  }
  // A stop string came; later tokens belong to no text.
  bool stopped() const { return stops_.stopped(); }

 private:
  StreamingDecoder decoder_;
  StopMatcher stops_;
};

}  // namespace qround
