// Splits what a model writes into reasoning, content and tool calls while it arrives.
//
// The text may come in any pieces: the parts, joined, do not depend on how it was cut. What could
// be the beginning of a tag is held back until it is known. A tool call is told when it is
// complete; what looked like one and is none comes back as content, so that no text is lost:
//
//   "I look.\n</think>\n\nOne moment.\n\n<tool_call>\n<function=f>…</tool_call>"
//   -> reasoning "I look.", content "One moment.", the call
//
// Blanks next to the tags belong to the form: those around reasoning, and those between content and
// a call.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/tool.h"
#include "server/tool_call_text.h"

namespace qround::server {

struct OutputPart {
  enum class Kind { reasoning, content, tool_call } kind = Kind::content;
  std::string text;  // of reasoning and content
  ToolCall call;     // of a tool call
};

class OutputParser {
 public:
  struct Options {
    bool in_reasoning = false;                       // the prompt ends inside an open <think>
    std::shared_ptr<const std::vector<Tool>> tools;  // none: nothing is taken for a call
    // The beginning of a call that the prompt already holds ("<tool_call>\n<function=").
    std::string_view begun_call;
  };
  explicit OutputParser(const Options& options);

  // The parts that became certain, appended to `out`.
  void push(std::string_view piece, std::vector<OutputPart>& out);
  // The end of the text.
  void finish(std::vector<OutputPart>& out);

  size_t calls() const { return calls_; }

 private:
  enum class State { start, reasoning, content, call };

  bool step(std::vector<OutputPart>& out);  // false: nothing more can be told from held_
  bool step_start();
  bool step_reasoning(std::vector<OutputPart>& out);
  bool step_content(std::vector<OutputPart>& out);
  bool step_call(std::vector<OutputPart>& out);
  void tell(OutputPart::Kind kind, std::string_view text, std::vector<OutputPart>& out);
  void tell_rest(OutputPart::Kind kind, std::string_view text, std::vector<OutputPart>& out);
  void tell_tag(std::vector<OutputPart>& out);
  void tell_call(ToolCall call, std::vector<OutputPart>& out);
  bool parses_calls() const { return tools_ != nullptr && !tools_->empty(); }

  std::shared_ptr<const std::vector<Tool>> tools_;
  State state_;
  std::string held_;          // not told yet
  std::string blanks_;        // blanks after what was told; told when more of the same kind follows
  size_t searched_ = 0;       // bytes of held_ in which no </tool_call> begins
  bool header_seen_ = false;  // held_ is known to begin a call of a known function
  bool skip_blanks_ = false;  // at the beginning of a part whose leading blanks are dropped
  size_t calls_ = 0;
};

}  // namespace qround::server
