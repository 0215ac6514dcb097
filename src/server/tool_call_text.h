// A tool call as the family writes it:
//
//   <tool_call>
//   <function=get_weather>
//   <parameter=city>
//   Rome
//   </parameter>
//   </function>
//   </tool_call>
//
// One line break after an opening <parameter=…> and one before its end belong to the form, not to
// the value. A value ends at "</parameter>" and may hold anything else, other tags included.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/tool.h"

namespace qround::server {

inline constexpr std::string_view kToolCallBegin = "<tool_call>";
inline constexpr std::string_view kToolCallEnd = "</tool_call>";

struct ToolCall {
  std::string name;
  Json arguments;  // an object, in the order of the text
};

struct ToolCallReading {
  enum class State {
    complete,    // `call` is the call; it took `length` bytes
    incomplete,  // could become a call with more text
    malformed,   // will never be one
  } state = State::incomplete;
  ToolCall call;
  size_t length = 0;
  bool closed = false;  // with `complete`: </tool_call> was there, not only </function>
};

// Reads the call that begins at the start of `text` with kToolCallBegin. A function that is not
// among the tools, or a parameter given twice, is malformed.
ToolCallReading read_tool_call(std::string_view text, const std::vector<Tool>& tools);

}  // namespace qround::server
