#include "server/text_pipeline.h"

namespace qround::server {

TextPipeline::TextPipeline(const Tokenizer& tokenizer, const TextOptions& options)
    : decoder_(tokenizer, /*skip_special=*/true),
      stops_(options.stops),
      most_calls_(options.most_calls) {
  if (options.parts) parser_.emplace(*options.parts);
}

void TextPipeline::push(int32_t token, std::vector<OutputPart>& out) {
  if (!stopped()) take(stops_.push(decoder_.push(token)), out);
}

void TextPipeline::finish(std::vector<OutputPart>& out) {
  if (!stopped()) {
    take(stops_.push(decoder_.flush()), out);
    take(stops_.flush(), out);
  }
  if (!parser_) return;
  const size_t had = out.size();
  parser_->finish(out);
  // What follows the last wanted call was not asked for.
  if (calls() >= most_calls_) out.resize(had);
}

bool TextPipeline::stopped() const { return stops_.stopped() || calls() >= most_calls_; }

void TextPipeline::take(const std::string& text, std::vector<OutputPart>& out) {
  if (text.empty()) return;
  if (parser_) {
    parser_->push(text, out);
  } else {
    out.push_back({.kind = OutputPart::Kind::content, .text = text, .call = {}});
  }
}

}  // namespace qround::server
