#include "report/model_card.h"

#include <fmt/format.h>

#include "base/progress.h"
#include "report/html_text.h"

namespace qround::report {
namespace {

std::string text_or(const Json* value, std::string_view otherwise) {
  if (value == nullptr || value->is_null()) return std::string(otherwise);
  return value->is_string() ? value->as_string() : value->dump();
}

std::string number(const Json* value, int digits) {
  if (value == nullptr || !value->is_number()) return "–";
  return value->is_int() ? value->dump() : fmt::format("{:.{}g}", value->as_double(), digits);
}

std::string estimate(const Json* value, int digits) {
  if (value == nullptr || !value->is_object()) return "–";
  return fmt::format("{} ({} – {})", number(value->find("value"), digits),
                     number(value->find("low"), digits), number(value->find("high"), digits));
}

std::string size_text(const Json* bytes) {
  return bytes == nullptr ? "–" : bytes_text(static_cast<uint64_t>(bytes->as_int()));
}

const Json* lane_named(const Json& eval, std::string_view name) {
  const Json* lanes = eval.find("lanes");
  if (lanes == nullptr) return nullptr;
  for (const Json& lane : lanes->as_array())
    if (text_or(lane.find("name"), "") == name) return &lane;
  return nullptr;
}

std::string what_was_done(const Json& report) {
  const Json* recipe = report.find("recipe");
  if (recipe == nullptr) return "";
  std::string text = "## What was done\n\n";
  text += fmt::format(
      "{} of {} linear maps are int4 in groups of {}; everything else is the source's, byte for "
      "byte. {} of tensor data became {}.\n",
      number(member(report, {"linears", "quantized"}), 6),
      number(member(report, {"linears", "total"}), 6), text_or(recipe->find("group_size"), "–"),
      size_text(member(report, {"bytes", "before"})),
      size_text(member(report, {"bytes", "after"})));
  const Json* mtp = member(report, {"linears", "mtp_total"});
  if (mtp != nullptr && mtp->as_int() > 0) {
    text += fmt::format("The MTP head is there; {} of its {} linear maps are int4.\n",
                        number(member(report, {"linears", "mtp_quantized"}), 6), number(mtp, 6));
  }
  text += "\n| recipe | |\n| --- | --- |\n";
  for (const auto& [key, value] : recipe->as_object())
    text += fmt::format("| {} | {} |\n", key, text_or(&value, "–"));
  text += fmt::format("| SHA-256 of the source's config.json | `{}` |\n",
                      text_or(member(report, {"source", "config_sha256"}), "–"));
  if (const Json* hash = member(report, {"tuning", "data_sha256"}))
    text += fmt::format("| SHA-256 of the calibration tokens | `{}` |\n", text_or(hash, "–"));
  return text + "\n";
}

std::string measurements(const Json& eval) {
  const Json* result = lane_named(eval, "result");
  if (result == nullptr) return "";
  const Json* source = lane_named(eval, "source");
  std::string text = fmt::format(
      "## Measured\n\nOn {}: {}. {} windows; in parentheses: {}.\n\n| | source | this checkpoint "
      "|\n| --- | --- | --- |\n",
      text_or(member(eval, {"data", "name"}), "–"),
      text_or(member(eval, {"protocol", "text"}), "–"), number(eval.find("windows"), 6),
      text_or(eval.find("interval"), "–"));
  const auto of_source = [&](const Json* value) {
    return source == nullptr ? std::string("–") : estimate(value, 5);
  };
  text += fmt::format("| perplexity | {} | {} |\n",
                      of_source(source == nullptr ? nullptr : source->find("perplexity")),
                      estimate(result->find("perplexity"), 5));
  if (const Json* kld = result->find("kl_divergence")) {
    text +=
        fmt::format("| KL divergence to the source, nats | | {} |\n| its 99 % quantile | | {} |\n",
                    estimate(kld->find("mean"), 3), number(kld->find("p99"), 3));
    text += fmt::format("| same top token as the source | | {} |\n",
                        estimate(result->find("top_agreement"), 4));
  }
  if (const Json* drafts = result->find("mtp_teacher_forced")) {
    for (size_t i = 0; i < drafts->as_array().size(); ++i) {
      const Json* other = source == nullptr ? nullptr : source->find("mtp_teacher_forced");
      text += fmt::format(
          "| MTP draft {} equals the network's own top token | {} | {} |\n", i + 1,
          other == nullptr ? "–" : estimate(other->as_array().at(i).find("agreement"), 4),
          estimate(drafts->as_array()[i].find("agreement"), 4));
    }
  }
  return text + "\n";
}

std::string loading(std::string_view name, bool has_mtp) {
  const char* vllm = has_mtp ? " \\\n  --speculative-config "
                               "'{\"method\": \"mtp\", \"num_speculative_tokens\": 2}'"
                             : "";
  const char* sglang = has_mtp ? " \\\n  --speculative-algo NEXTN --speculative-num-steps 3 "
                                 "--speculative-eagle-topk 1 --speculative-num-draft-tokens 4"
                               : "";
  return fmt::format(R"(## How to load it

vLLM:

```
vllm serve {0} --reasoning-parser qwen3{1}
```

SGLang:

```
python -m sglang.launch_server --model-path {0} --reasoning-parser qwen3{2}
```

transformers (with `auto-round` installed):

```python
from transformers import AutoModelForImageTextToText, AutoTokenizer
model = AutoModelForImageTextToText.from_pretrained("{0}", dtype="auto", device_map="auto")
tokenizer = AutoTokenizer.from_pretrained("{0}")
```

qround:

```
qround chat {0}
qround verify {0}
```
)",
                     name, vllm, sglang);
}

}  // namespace

std::string model_card(const Json& report, std::string_view directory_name, bool has_mtp) {
  const Json* eval = report.find("eval");
  const std::string source = text_or(member(report, {"source", "name"}), "");
  // The hub reads what stands between the first two lines of dashes.
  std::string text = "---\ntags:\n- auto-round\n- int4\n- moe\n";
  if (!source.empty())
    text += fmt::format("base_model: {}\nbase_model_relation: quantized\n", source);
  text += fmt::format("---\n{}\n\n# {}\n\n", kCardMark, directory_name);
  if (!source.empty())
    text += fmt::format("{} in int4, AutoRound's format, made with qround {}.\n\n", source,
                        text_or(member(report, {"tool", "version"}), ""));
  text += what_was_done(report);
  if (eval != nullptr) text += measurements(*eval);
  if (const Json* checked = report.find("verify")) {
    text += fmt::format("`qround verify`: {} rules checked, {} errors, {} warnings.\n\n",
                        number(checked->find("checked"), 6), number(checked->find("errors"), 6),
                        number(checked->find("warnings"), 6));
  }
  return text + loading(directory_name, has_mtp);
}

}  // namespace qround::report
