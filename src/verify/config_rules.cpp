// What config.json and its companions say.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <regex>
#include <unordered_map>

#include "base/error.h"
#include "verify/rules.h"

namespace qround::verify {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kCompanionFile = "quantization_config.json";
// Loaders of other methods look for these.
constexpr std::array<std::string_view, 2> kForeignFiles = {"quantize_config.json",
                                                           "hf_quant_config.json"};

// Whether a key of extra_config is read as a regular expression; a dot alone does not make one.
bool is_regex(std::string_view key) {
  return key.find_first_of("*+?^$()[]{}|\\") != std::string_view::npos;
}

// Finds which bits the config gives a module.
class Resolver {
 public:
  explicit Resolver(const QuantizationConfig& config) : config_(config) {
    for (const ModuleOverride& entry : config.extra_config) {
      const int64_t bits = entry.bits().value_or(16);
      if (is_regex(entry.pattern)) {
        expressions_.emplace_back(std::regex(entry.pattern), bits);
      } else {
        exact_.emplace(entry.pattern, bits);
      }
    }
  }

  int64_t bits(const Parameter& p) const {
    for (const std::string& name : {p.module, p.runtime_group}) {
      if (const auto found = exact_.find(name); found != exact_.end()) return found->second;
    }
    for (const auto& [expression, bits] : expressions_) {
      if (std::regex_search(p.module, expression)) return bits;
    }
    const bool inside =
        std::any_of(config_.block_names.begin(), config_.block_names.end(),
                    [&](const std::string& block) { return p.module.starts_with(block); });
    return inside ? config_.bits : 16;
  }

 private:
  const QuantizationConfig& config_;
  std::unordered_map<std::string, int64_t> exact_;
  std::vector<std::pair<std::regex, int64_t>> expressions_;
};

bool compiles(const std::string& expression) {
  try {
    const std::regex compiled(expression);
    return true;
  } catch (const std::regex_error&) {
    return false;
  }
}

std::string text_or_absent(const std::optional<std::string>& text) {
  return text.value_or("absent");
}

void check_overrides(const QuantizationConfig& config, Findings& findings) {
  for (const ModuleOverride& entry : config.extra_config) {
    const std::optional<int64_t> bits = entry.bits();
    if (!bits || (*bits != 16 && *bits != config.bits)) {
      findings.add({entry.pattern, "an override's bits are not usable",
                    fmt::format("16 or {}", config.bits),
                    bits ? fmt::format("{}", *bits) : "absent"});
    }
    if (is_regex(entry.pattern) && !compiles(entry.pattern)) {
      findings.add({entry.pattern, "an override's name is no regular expression", "", ""});
    }
  }
}

void check_block_names(const Subject& subject, Findings& findings) {
  const std::string file(kConfigFile);
  const std::vector<std::string>& blocks = subject.config->block_names;
  if (blocks.empty()) {
    findings.add({file, "block_name_to_quantize is missing", subject.table.block_prefix(Part::text),
                  "absent"});
  }
  for (const std::string& block : blocks) {
    const bool holds_int4 =
        !block.empty() &&
        std::any_of(subject.forms.begin(), subject.forms.end(), [&](auto& stored) {
          return stored.form == Form::int4 && stored.parameter->module.starts_with(block);
        });
    if (!holds_int4) {
      findings.add({file, "block_name_to_quantize names blocks without int4 maps", "", block});
    }
  }
}

}  // namespace

void check_config_values(const Subject& subject, Findings& findings) {
  const std::string file(kConfigFile);
  const Json* object = subject.checkpoint.config().find("quantization_config");
  if (object == nullptr) {
    findings.add({file, "quantization_config is missing", "an object", "absent"});
    return;
  }
  const QuantizationConfig config = parse_quantization_config(*object);
  const auto expect = [&](const char* key, const std::string& expected, const std::string& actual) {
    if (expected != actual) findings.add({file, fmt::format("{} is wrong", key), expected, actual});
  };
  expect("quant_method", "auto-round", config.quant_method);
  expect("bits", "4", fmt::format("{}", config.bits));
  expect("sym", "true", config.sym ? fmt::format("{}", *config.sym) : "absent");
  expect("packing_format", "auto_round:auto_gptq", text_or_absent(config.packing_format));
  if (config.data_type) expect("data_type", "int", *config.data_type);
  if (config.group_size != 32 && config.group_size != 64 && config.group_size != 128) {
    findings.add(
        {file, "group_size is wrong", "32, 64 or 128", fmt::format("{}", config.group_size)});
  }
  check_overrides(config, findings);
  if (subject.config) check_block_names(subject, findings);
}

void check_configs_equal(const Subject& subject, Findings& findings) {
  const fs::path directory = subject.checkpoint.path();
  std::error_code ignored;
  for (const std::string_view name : kForeignFiles) {
    if (fs::exists(directory / name, ignored)) {
      findings.add({std::string(name), "the file describes another quantization", "absent", ""});
    }
  }
  if (!fs::exists(directory / kCompanionFile, ignored)) {
    findings.add({std::string(kCompanionFile), "the file is missing", "", ""});
    return;
  }
  const Json companion = Json::parse_file(directory / kCompanionFile);
  const Json* embedded = subject.checkpoint.config().find("quantization_config");
  if (embedded == nullptr || !(companion == *embedded)) {
    findings.add({std::string(kCompanionFile), "the file differs from config.json", "", ""});
  }
}

void check_config_matches_tensors(const Subject& subject, Findings& findings) {
  if (!subject.config) {
    findings.add({std::string(kConfigFile), "quantization_config is not usable", "", ""});
    return;
  }
  for (const ModuleOverride& entry : subject.config->extra_config) {
    if (is_regex(entry.pattern) && !compiles(entry.pattern)) return;  // config-values reports it
  }
  const Resolver resolver(*subject.config);
  for (const StoredForm& stored : subject.forms) {
    const Parameter& p = *stored.parameter;
    const bool is_int4 = stored.form == Form::int4;
    if (!is_linear(p.role) || stored.form == Form::absent || stored.form == Form::several) continue;
    const int64_t bits = resolver.bits(p);
    if ((bits < 16) != is_int4) {
      findings.add({p.module, "the config gives the module another form than the file",
                    fmt::format("{} bits", is_int4 ? subject.config->bits : 16),
                    fmt::format("{} bits", bits)});
    }
  }
}

}  // namespace qround::verify
