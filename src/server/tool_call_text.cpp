#include "server/tool_call_text.h"

#include <algorithm>

#include "server/argument_value.h"

namespace qround::server {
namespace {

using State = ToolCallReading::State;

constexpr std::string_view kFunctionBegin = "<function=";
constexpr std::string_view kFunctionEnd = "</function>";
constexpr std::string_view kParameterBegin = "<parameter=";
constexpr std::string_view kParameterEnd = "</parameter>";
constexpr size_t kMaxNameBytes = 256;

// Walks over the text. Every step says whether it succeeded, needs more text or cannot succeed.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  void skip_blanks() {
    while (position_ < text_.size() &&
           std::string_view(" \t\r\n").find(text_[position_]) != std::string_view::npos) {
      ++position_;
    }
  }
  State literal(std::string_view wanted) {
    const std::string_view there = text_.substr(position_, wanted.size());
    if (there == wanted) {
      position_ += wanted.size();
      return State::complete;
    }
    return wanted.substr(0, there.size()) == there ? State::incomplete : State::malformed;
  }
  // What stands before '>', on one line.
  State name(std::string& out) {
    const std::string_view rest = text_.substr(position_);
    const size_t end = rest.find_first_of("<>\n");
    if (end == std::string_view::npos) {
      return rest.size() > kMaxNameBytes ? State::malformed : State::incomplete;
    }
    if (rest[end] != '>' || end == 0 || end > kMaxNameBytes) return State::malformed;
    out = rest.substr(0, end);
    position_ += end + 1;
    return State::complete;
  }
  State value(std::string_view& out) {
    const size_t end = text_.find(kParameterEnd, position_);
    if (end == std::string_view::npos) return State::incomplete;
    out = text_.substr(position_, end - position_);
    if (out.starts_with('\n')) out.remove_prefix(1);
    if (out.ends_with('\n')) out.remove_suffix(1);
    position_ = end + kParameterEnd.size();
    return State::complete;
  }
  size_t position() const { return position_; }

 private:
  std::string_view text_;
  size_t position_ = 0;
};

State read_parameter(Reader& reader, const Tool& tool, Json& arguments) {
  std::string key;
  if (const State state = reader.name(key); state != State::complete) return state;
  std::string_view text;
  if (const State state = reader.value(text); state != State::complete) return state;
  if (arguments.find(key) != nullptr) return State::malformed;
  const Json* properties = tool.parameters.find("properties");
  const Json* schema = properties == nullptr ? nullptr : properties->find(key);
  arguments.set(key, argument_value(text, schema, tool.parameters));
  return State::complete;
}

State read_header(Reader& reader, std::string& name) {
  if (const State state = reader.literal(kToolCallBegin); state != State::complete) return state;
  reader.skip_blanks();
  if (const State state = reader.literal(kFunctionBegin); state != State::complete) return state;
  return reader.name(name);
}

// Parameters up to and including </function>.
State read_body(Reader& reader, const Tool& tool, Json& arguments) {
  while (true) {
    reader.skip_blanks();
    const State end = reader.literal(kFunctionEnd);
    if (end == State::complete) return end;
    const State begin = reader.literal(kParameterBegin);
    if (begin != State::complete) return end == State::incomplete ? end : begin;
    if (const State state = read_parameter(reader, tool, arguments); state != State::complete) {
      return state;
    }
  }
}

}  // namespace

ToolCallReading read_tool_call(std::string_view text, const std::vector<Tool>& tools) {
  ToolCallReading reading;
  Reader reader(text);
  reading.state = read_header(reader, reading.call.name);
  if (reading.state != State::complete) return reading;
  const auto tool = std::find_if(tools.begin(), tools.end(), [&](const Tool& candidate) {
    return candidate.name == reading.call.name;
  });
  reading.state = State::malformed;
  if (tool == tools.end()) return reading;
  reading.call.arguments = Json::object();
  reading.state = read_body(reader, *tool, reading.call.arguments);
  if (reading.state != State::complete) return reading;
  reading.length = reader.position();
  reader.skip_blanks();
  if (reader.literal(kToolCallEnd) == State::complete) {
    reading.length = reader.position();
    reading.closed = true;
  }
  return reading;
}

}  // namespace qround::server
