#include "server/output_parser.h"

#include <algorithm>

namespace qround::server {
namespace {

constexpr std::string_view kThinkBegin = "<think>";
constexpr std::string_view kThinkEnd = "</think>";
constexpr std::string_view kBlanks = " \t\r\n";

// Where `tag`, or a beginning of it that the end cuts off, starts in `text`; its size if nowhere.
size_t find_tag(std::string_view text, std::string_view tag) {
  const size_t whole = text.find(tag);
  if (whole != std::string_view::npos) return whole;
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (text.ends_with(tag.substr(0, n))) return text.size() - n;
  }
  return text.size();
}

bool starts_with_part_of(std::string_view text, std::string_view tag) {
  return tag.substr(0, text.size()) == text;
}

}  // namespace

OutputParser::OutputParser(const Options& options)
    : tools_(options.tools),
      state_(options.in_reasoning ? State::reasoning : State::start),
      held_(options.begun_call),
      skip_blanks_(options.in_reasoning) {
  if (!held_.empty()) state_ = State::call;
}

void OutputParser::push(std::string_view piece, std::vector<OutputPart>& out) {
  held_ += piece;
  while (step(out)) {
  }
}

void OutputParser::finish(std::vector<OutputPart>& out) {
  // With no more text to come, a call may lack </tool_call>, and another one may follow it.
  while (state_ == State::call) {
    ToolCallReading reading = read_tool_call(held_, *tools_);
    state_ = State::content;
    if (reading.state == ToolCallReading::State::incomplete) break;
    if (reading.state == ToolCallReading::State::malformed) {
      tell_tag(out);
    } else {
      held_.erase(0, reading.length);
      tell_call(std::move(reading.call), out);
    }
    while (step(out)) {
    }
  }
  const OutputPart::Kind kind =
      state_ == State::reasoning ? OutputPart::Kind::reasoning : OutputPart::Kind::content;
  tell(kind, held_, out);
  held_.clear();
  // Blanks at the very end belong to content, but not to reasoning.
  if (kind == OutputPart::Kind::content) tell_rest(kind, blanks_, out);
  blanks_.clear();
}

bool OutputParser::step(std::vector<OutputPart>& out) {
  if (held_.empty()) return false;
  switch (state_) {
    case State::start:
      return step_start();
    case State::reasoning:
      return step_reasoning(out);
    case State::content:
      return step_content(out);
    case State::call:
      return step_call(out);
  }
  return false;
}

// A template without an open tag in the prompt leaves it to the model to write one.
bool OutputParser::step_start() {
  const size_t first = held_.find_first_not_of(kBlanks);
  if (first == std::string::npos) return false;
  const std::string_view text = std::string_view(held_).substr(first);
  if (text.starts_with(kThinkBegin)) {
    held_.erase(0, first + kThinkBegin.size());
    state_ = State::reasoning;
    skip_blanks_ = true;
    return true;
  }
  if (starts_with_part_of(text, kThinkBegin)) return false;
  state_ = State::content;
  return true;
}

bool OutputParser::step_reasoning(std::vector<OutputPart>& out) {
  const size_t tag = find_tag(held_, kThinkEnd);
  tell(OutputPart::Kind::reasoning, std::string_view(held_).substr(0, tag), out);
  held_.erase(0, tag);
  if (!held_.starts_with(kThinkEnd)) return false;
  held_.erase(0, kThinkEnd.size());
  blanks_.clear();
  state_ = State::content;
  skip_blanks_ = true;
  return true;
}

bool OutputParser::step_content(std::vector<OutputPart>& out) {
  const size_t tag = parses_calls() ? find_tag(held_, kToolCallBegin) : held_.size();
  tell(OutputPart::Kind::content, std::string_view(held_).substr(0, tag), out);
  held_.erase(0, tag);
  if (!held_.starts_with(kToolCallBegin)) return false;
  state_ = State::call;
  searched_ = 0;
  header_seen_ = false;
  return true;
}

bool OutputParser::step_call(std::vector<OutputPart>& out) {
  const size_t from = searched_ < kToolCallEnd.size() ? 0 : searched_ - kToolCallEnd.size();
  const bool may_end = held_.find(kToolCallEnd, from) != std::string::npos;
  searched_ = held_.size();
  if (header_seen_ && !may_end) return false;
  ToolCallReading reading = read_tool_call(held_, *tools_);
  if (reading.state == ToolCallReading::State::complete && reading.closed) {
    held_.erase(0, reading.length);
    tell_call(std::move(reading.call), out);
    state_ = State::content;
    return true;
  }
  if (reading.state == ToolCallReading::State::malformed) {
    tell_tag(out);
    state_ = State::content;
    return true;
  }
  // </function> was read: whatever comes before </tool_call> can no longer change the call.
  if (reading.state == ToolCallReading::State::complete) {
    const std::string_view rest = std::string_view(held_).substr(reading.length);
    const size_t first = rest.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) return false;
    if (starts_with_part_of(rest.substr(first), kToolCallEnd)) return false;
    held_.erase(0, reading.length);
    tell_call(std::move(reading.call), out);
    state_ = State::content;
    return true;
  }
  header_seen_ = header_seen_ || !reading.call.name.empty();
  return false;
}

// Tells text without its trailing blanks, which wait to see what follows.
void OutputParser::tell(OutputPart::Kind kind, std::string_view text,
                        std::vector<OutputPart>& out) {
  if (skip_blanks_) {
    const size_t first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) return;
    text.remove_prefix(first);
    skip_blanks_ = false;
  }
  const size_t end = text.find_last_not_of(kBlanks);
  if (end == std::string_view::npos) {
    blanks_ += text;
    return;
  }
  std::string told = std::move(blanks_);
  told += text.substr(0, end + 1);
  blanks_ = text.substr(end + 1);
  tell_rest(kind, told, out);
}

void OutputParser::tell_rest(OutputPart::Kind kind, std::string_view text,
                             std::vector<OutputPart>& out) {
  if (text.empty()) return;
  out.push_back({.kind = kind, .text = std::string(text), .call = {}});
}

// Only the tag is certain to begin no call; what follows may hold one.
void OutputParser::tell_tag(std::vector<OutputPart>& out) {
  const size_t tag = std::min(kToolCallBegin.size(), held_.size());
  tell(OutputPart::Kind::content, std::string_view(held_).substr(0, tag), out);
  held_.erase(0, tag);
}

void OutputParser::tell_call(ToolCall call, std::vector<OutputPart>& out) {
  blanks_.clear();
  skip_blanks_ = true;
  ++calls_;
  out.push_back({.kind = OutputPart::Kind::tool_call, .text = {}, .call = std::move(call)});
}

}  // namespace qround::server
