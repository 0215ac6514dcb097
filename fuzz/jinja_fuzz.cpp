// Whatever the bytes, reading them as a chat template ends with an Error or with a template, and
// rendering that one with a small conversation ends, within the limits, with an Error or with text
// that is UTF-8.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "tokenizer/jinja_template.h"
#include "tokenizer/utf8.h"

namespace {

using qround::Json;

const Json& conversation() {
  static const Json variables = Json::parse(R"({
    "messages": [
      {"role": "system", "content": " Be brief. "},
      {"role": "user", "content": [{"type": "text", "text": "Héllo"}, {"type": "image"}]},
      {"role": "assistant", "content": "<think>\nx\n</think>\n\nHi 🙂",
       "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1, "b": [2.5, null]}}}]},
      {"role": "tool", "content": "ok"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>",
    "i": 7, "x": -2.5, "s": "a,b c", "xs": [3, 1, 2], "d": {"k": "v", "n": null}})");
  return variables;
}

std::tm fixed_time() {
  std::tm time{};
  time.tm_year = 125;
  time.tm_mday = 5;
  return time;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  qround::JinjaOptions options;
  options.limits.max_steps = 100'000;
  options.limits.max_output_bytes = 100'000;
  options.limits.max_produced_bytes = 4'000'000;
  options.clock = fixed_time;
  try {
    const auto parsed = qround::JinjaTemplate::parse(
        std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    const std::string text = parsed.render(conversation(), options);
    if (!qround::is_utf8(text) || text.size() > options.limits.max_output_bytes) std::abort();
  } catch (const qround::Error& error) {
    if (error.file().empty()) std::abort();
  }
  return 0;
}
