#include "eval/protocol.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace qround::eval {
namespace {

void check(const Protocol& p) {
  if (p.context < 2 || p.stride < 1 || p.warm_up < 0 || p.warm_up > p.context - 2) {
    throw Error("the windows make no sense")
        .expected("at least 2 tokens of context, a stride of at least 1, warm-up below context - 1")
        .actual(fmt::format("context {}, stride {}, warm-up {}", p.context, p.stride, p.warm_up));
  }
}

}  // namespace

Protocol protocol_named(std::string_view name) {
  if (name == "windows")
    return {.name = "windows", .context = 256, .stride = 256, .compares_last_row = true};
  if (name == "llama.cpp")
    return {.name = "llama.cpp", .context = 512, .stride = 512, .warm_up = 256};
  if (name == "hf") {
    return {.name = "hf",
            .context = 2048,
            .stride = 512,
            .new_tokens_only = true,
            .partial_window = true};
  }
  throw Error("no such protocol").expected("windows, llama.cpp or hf").actual(name);
}

std::string describe(const Protocol& p) {
  std::string rows = p.warm_up > 0
                         ? fmt::format("the first {} rows of each only give context", p.warm_up)
                         : std::string("all rows count");
  if (p.new_tokens_only) rows = "each token is scored once, in the first window that holds it";
  return fmt::format(
      "{}: windows of {} tokens, {} apart; {}; {}; the text's last tokens that fill no window {}{}",
      p.name, p.context, p.stride, rows,
      p.bos ? fmt::format("token {} in place of each window's first", *p.bos)
            : "no BOS token added",
      p.partial_window ? "form a shorter one" : "are left out",
      p.compares_last_row ? "; distributions are compared on a window's last row too" : "");
}

Json to_json(const Protocol& p) {
  return Json::object({{"name", p.name},
                       {"context", p.context},
                       {"stride", p.stride},
                       {"warm_up", p.warm_up},
                       {"new_tokens_only", p.new_tokens_only},
                       {"partial_window", p.partial_window},
                       {"compares_last_row", p.compares_last_row},
                       {"bos", p.bos ? Json(int64_t{*p.bos}) : Json()},
                       {"max_windows", p.max_windows},
                       {"text", describe(p)}});
}

WindowedText cut_windows(std::span<const int32_t> text, const Protocol& protocol) {
  check(protocol);
  const auto total = static_cast<int64_t>(text.size());
  WindowedText result;
  result.text_tokens = total;
  int64_t predicted = 0;  // tokens before it were predicted by an earlier window
  for (int64_t begin = 0; begin + 1 < total; begin += protocol.stride) {
    if (protocol.max_windows > 0 &&
        static_cast<int64_t>(result.windows.size()) == protocol.max_windows)
      break;
    const int64_t end = std::min(total, begin + protocol.context);
    if (end - begin < protocol.context && !protocol.partial_window) break;
    Window window;
    window.begin = static_cast<int64_t>(result.tokens.size());
    window.length = end - begin;
    window.first_row = protocol.warm_up;
    if (protocol.new_tokens_only)
      window.first_row = std::max(window.first_row, predicted - begin - 1);
    window.target_end = window.length - 1;
    window.compare_end = window.target_end + (protocol.compares_last_row ? 1 : 0);
    if (window.targets() > 0) {
      const auto first = text.begin() + begin;
      result.tokens.insert(result.tokens.end(), first, text.begin() + end);
      if (protocol.bos) result.tokens[static_cast<size_t>(window.begin)] = *protocol.bos;
      result.windows.push_back(window);
      predicted = end;
    }
    if (end == total) break;
  }
  if (result.windows.empty()) {
    throw Error("the text is too short for one window")
        .expected(fmt::format("{} tokens", protocol.context))
        .actual(fmt::format("{}", total))
        .hint("give more text or lower --context");
  }
  return result;
}

}  // namespace qround::eval
