#include "verify/loading.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace qround::verify {
namespace {

constexpr int64_t kKeptBits = 16;

// How the tensors of a module lie in the file.
struct FileForm {
  bool int4 = false, dense = false;
  bool fused = false;  // dense, in the tensor of all experts

  bool mixed() const { return int4 && dense; }
  bool absent() const { return !int4 && !dense; }
  int64_t bits() const { return int4 ? 4 : kKeptBits; }
};

FileForm file_form(const Subject& subject, const RuntimeModule& module) {
  FileForm form;
  for (const Parameter* p : module.shards) {
    const Form stored = subject.form_of(*p);
    form.int4 |= stored == Form::int4;
    form.dense |= stored == Form::dense || stored == Form::fused;
    form.fused |= stored == Form::fused;
  }
  return form;
}

std::string first_tensor(const RuntimeModule& module, bool int4) {
  return module.first().module + (int4 ? ".qweight" : ".weight");
}

std::string expert_parameter(bool int4) { return int4 ? "w13_qweight" : "w13_weight"; }

// The tensors of the file are not the ones the module has places for.
void describe_vllm(const Release& release, const RuntimeModule& module, const FileForm& form,
                   Mismatch& mismatch) {
  const std::string tensor = first_tensor(module, form.int4);
  if (release.skips_unknown_tensors) {
    const bool router = !module.may_be_quantized;
    mismatch.loud = module.kind == ModuleKind::experts || router;
    if (mismatch.loud) {
      mismatch.text = fmt::format("KeyError: '{}'", tensor);
    } else {
      mismatch.text =
          fmt::format("{} is skipped with one warning; the module stays random", tensor);
    }
    return;
  }
  mismatch.loud = true;
  if (module.kind == ModuleKind::experts) {
    mismatch.text =
        fmt::format("AttributeError: Layer {} has no parameter '{}' for checkpoint weight {}",
                    module.name, expert_parameter(form.int4), tensor);
  } else {
    mismatch.text = fmt::format("ValueError: There is no module or parameter named '{}'", tensor);
  }
}

void describe_sglang(const RuntimeModule& module, const FileForm& form, Mismatch& mismatch) {
  const std::string tensor = first_tensor(module, form.int4);
  mismatch.loud = module.kind == ModuleKind::experts && !form.fused;
  mismatch.text = mismatch.loud ? fmt::format("KeyError: '{}'", tensor)
                                : fmt::format(
                                      "Parameter {} not found in params_dict: a warning; "
                                      "the module stays random",
                                      tensor);
}

void describe_transformers(const RuntimeModule& module, const FileForm& form, Mismatch& mismatch) {
  mismatch.text = fmt::format("{} is reported as unexpected; the module stays random",
                              first_tensor(module, form.int4));
}

Mismatch describe(Reader reader, const Release& release, const RuntimeModule& module,
                  const FileForm& form, int64_t config_bits) {
  Mismatch mismatch{.module = module.name,
                    .file_bits = form.bits(),
                    .config_bits = config_bits,
                    .draft = module.first().part == Part::mtp,
                    .text = {}};
  switch (reader) {
    case Reader::vllm:
      describe_vllm(release, module, form, mismatch);
      break;
    case Reader::sglang:
      describe_sglang(module, form, mismatch);
      break;
    case Reader::transformers:
      describe_transformers(module, form, mismatch);
      break;
  }
  return mismatch;
}

// Settings of every module, whatever the reader.
class ReaderResolver {
 public:
  ReaderResolver(const Subject& subject, Reader reader, const std::vector<RuntimeModule>& modules)
      : subject_(subject), reader_(reader) {
    const bool text_only =
        !subject.table.block_prefix(Part::text).starts_with("model.language_model.");
    if (reader == Reader::vllm) vllm_names_ = verify::vllm_names(subject.names, text_only);
    if (reader == Reader::transformers)
      transformers_ = resolve_transformers(subject.names, modules);
  }

  const std::string& refusal() const { return transformers_.refusal; }

  Resolution operator()(const Release& release, const RuntimeModule& module) const {
    if (subject_.quantization.is_null()) return {};
    switch (reader_) {
      case Reader::vllm:
        if (subject_.is_gptq()) return of_gptq(module);
        return resolve_vllm(vllm_names_, release, module);
      case Reader::sglang:
        return resolve_sglang(subject_.names, module);
      case Reader::transformers:
        return of_transformers(module);
    }
    return {};
  }

 private:
  Resolution of_transformers(const RuntimeModule& module) const {
    const auto found = transformers_.of_module.find(module.name);
    return found == transformers_.of_module.end() ? Resolution{} : Resolution{found->second, {}};
  }

  // Under quant_method "gptq" vLLM looks at the tensors themselves; only experts depend on
  // `dynamic`.
  Resolution of_gptq(const RuntimeModule& module) const {
    const FileForm form = file_form(subject_, module);
    if (module.kind != ModuleKind::experts) return {{form.bits(), -1, true}, {}};
    const auto skips = [&](const DynamicRule& rule) {
      return rule.skips && NamePattern(rule.expression + ".*").full_match(module.name);
    };
    const bool skipped =
        std::any_of(subject_.names.dynamic.begin(), subject_.names.dynamic.end(), skips);
    return {{skipped ? kKeptBits : subject_.names.bits, -1, true}, {}};
  }

  const Subject& subject_;
  Reader reader_;
  QuantizationNames vllm_names_;
  TransformersResolution transformers_;
};

Loading simulate(const Subject& subject, Reader reader, const Release& release,
                 const std::vector<RuntimeModule>& modules, const ReaderResolver& resolve) {
  Loading loading{.release = &release,
                  .refusal = refusal_of_values(subject.quantization, reader, release),
                  .mismatches = {}};
  if (loading.refusal.empty()) loading.refusal = resolve.refusal();
  for (const RuntimeModule& module : modules) {
    const FileForm form = file_form(subject, module);
    const Resolution resolution = resolve(release, module);
    if (!resolution.refusal.empty()) {
      loading.mismatches.push_back({.module = module.name,
                                    .file_bits = form.bits(),
                                    .loud = true,
                                    .draft = module.first().part == Part::mtp,
                                    .text = resolution.refusal});
      continue;
    }
    const int64_t bits = resolution.settings.bits;
    if (form.int4 && resolution.settings.quantized() && bits != form.bits()) {
      loading.mismatches.push_back(
          {.module = module.name,
           .file_bits = form.bits(),
           .config_bits = bits,
           .loud = true,
           .draft = module.first().part == Part::mtp,
           .text = fmt::format("AssertionError: {} has not the shape of {} bits",
                               first_tensor(module, true), bits)});
      continue;
    }
    const bool differs =
        form.mixed() || (!form.absent() && form.int4 != resolution.settings.quantized());
    if (!differs) continue;
    // Of a mixed module, the tensors that the program has no place for.
    const FileForm misplaced = form.mixed() ? FileForm{!resolution.settings.quantized(),
                                                       resolution.settings.quantized(), false}
                                            : form;
    loading.mismatches.push_back(
        describe(reader, release, module, misplaced, resolution.settings.bits));
  }
  return loading;
}

std::string text_of(const Json* value) {
  if (value == nullptr) return "absent";
  return value->is_string() ? value->as_string() : value->dump();
}

template <size_t N>
bool is_one_of(const std::string& text, const std::array<std::string_view, N>& values) {
  return std::find(values.begin(), values.end(), text) != values.end();
}

std::string unsupported(std::string_view key, const std::string& value) {
  return fmt::format("ValueError: Unsupported {}: {}", key, value);
}

constexpr std::array<std::string_view, 2> kServerFormats = {"auto_round:auto_gptq",
                                                            "auto_round:auto_awq"};
constexpr std::array<std::string_view, 6> kServerBackends = {"auto", "gptq",       "gptq:marlin",
                                                             "awq",  "awq:marlin", "marlin"};

std::string refusal_of_server(const Json& config, const Release& release) {
  for (const char* key : {"bits", "group_size"}) {
    const Json* value = config.find(key);
    if (value == nullptr)
      return fmt::format("ValueError: Cannot find any of ['{}'] in the quantization config", key);
    if (!value->is_int()) return unsupported(key, text_of(value));
  }
  const int64_t bits = config.at("bits").as_int();
  if (bits != 4 && bits != 8) return unsupported("weight_bits", std::to_string(bits));
  if (release.needs_sym && config.find("sym") == nullptr)
    return "ValueError: Cannot find any of ['sym'] in the quantization config";
  const auto refuses = [&](const char* key, const auto& allowed) {
    const Json* value = config.find(key);
    return value != nullptr && !is_one_of(text_of(value), allowed);
  };
  if (refuses("packing_format", kServerFormats))
    return unsupported("packing_format", text_of(config.find("packing_format")));
  if (refuses("data_type", std::array<std::string_view, 1>{"int"}))
    return unsupported("data_type", text_of(config.find("data_type")));
  if (refuses("backend", kServerBackends))
    return unsupported("backend", text_of(config.find("backend")));
  const Json* sym = config.find("sym");
  if (sym != nullptr && sym->is_bool() && !sym->as_bool())
    return "NotImplementedError: asymmetric weights";
  return "";
}

}  // namespace

std::string refusal_of_values(const Json& config, Reader reader, const Release& release) {
  if (config.is_null()) return "";  // loads as if nothing were quantized
  const std::string method = text_of(config.find("quant_method"));
  if (method == "gptq") return "";
  if (reader == Reader::transformers) {
    if (method.find("auto-round") == std::string::npos)
      return fmt::format("ValueError: Unknown quantization type, got {}", method);
    return "";
  }
  if (method != "auto-round")
    return fmt::format("ValueError: Unknown quantization method: {}", method);
  return refusal_of_server(config, release);
}

std::vector<ModuleRow> resolve_modules(const Subject& subject, const Consumer& consumer) {
  const std::vector<RuntimeModule> modules = runtime_modules(consumer.reader, subject.table);
  const ReaderResolver resolve(subject, consumer.reader, modules);
  std::vector<ModuleRow> rows;
  for (const RuntimeModule& module : modules) {
    const FileForm form = file_form(subject, module);
    rows.push_back(
        {module.name, form.absent() ? 0 : form.bits(), resolve(consumer.releases.back(), module)});
  }
  return rows;
}

std::vector<Loading> simulate_loading(const Subject& subject, const Consumer& consumer) {
  const std::vector<RuntimeModule> modules = runtime_modules(consumer.reader, subject.table);
  const ReaderResolver resolve(subject, consumer.reader, modules);
  std::vector<Loading> results;
  for (const Release& release : consumer.releases)
    results.push_back(simulate(subject, consumer.reader, release, modules, resolve));
  return results;
}

}  // namespace qround::verify
