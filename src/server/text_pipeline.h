// From tokens to what a client reads: characters, up to a stop string, split into parts.
//
// The engine's thread runs one to know when to stop and the connection's thread runs another to
// tell the client; for the same tokens they come to the same result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/stop_matcher.h"
#include "server/output_parser.h"
#include "tokenizer/streaming_decoder.h"
#include "tokenizer/tokenizer.h"

namespace qround::server {

struct TextOptions {
  std::vector<std::string> stops;
  // How to split the text; nullopt: all of it is content.
  std::optional<OutputParser::Options> parts;
  size_t most_calls = SIZE_MAX;  // the text ends after so many tool calls
};

class TextPipeline {
 public:
  // The tokenizer must outlive it.
  TextPipeline(const Tokenizer& tokenizer, const TextOptions& options);

  // Parts that became certain are appended to `out`.
  void push(int32_t token, std::vector<OutputPart>& out);
  void finish(std::vector<OutputPart>& out);

  // The text is over: a stop string came, or the last call that is wanted.
  bool stopped() const;
  size_t calls() const { return parser_ ? parser_->calls() : 0; }

 private:
  void take(const std::string& text, std::vector<OutputPart>& out);

  StreamingDecoder decoder_;
  StopMatcher stops_;
  std::optional<OutputParser> parser_;
  size_t most_calls_;
};

}  // namespace qround::server
