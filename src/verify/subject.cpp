#include "verify/subject.h"

#include "base/error.h"

namespace qround::verify {
namespace {

Form form_of(const Checkpoint& checkpoint, const Parameter& p) {
  const bool dense = checkpoint.find(p.tensor) != nullptr;
  const bool fused = !p.fused_tensor.empty() && checkpoint.find(p.fused_tensor) != nullptr;
  const bool int4 = is_linear(p.role) && checkpoint.find(p.module + ".qweight") != nullptr;
  if (dense + fused + int4 > 1) return Form::several;
  return dense ? Form::dense : fused ? Form::fused : int4 ? Form::int4 : Form::absent;
}

}  // namespace

std::vector<StoredForm> stored_forms(const Checkpoint& checkpoint, const TensorTable& table) {
  std::vector<StoredForm> forms;
  forms.reserve(table.parameters().size());
  for (const Parameter& parameter : table.parameters())
    forms.push_back({&parameter, form_of(checkpoint, parameter)});
  return forms;
}

Form Subject::form_of(const Parameter& parameter) const {
  return forms[static_cast<size_t>(&parameter - table.parameters().data())].form;
}

bool Subject::is_gptq() const {
  const Json* method = quantization.find("quant_method");
  return method != nullptr && method->is_string() && method->as_string() == "gptq";
}

Int4Format Subject::int4_format() const {
  return config ? qround::int4_format(*config) : Int4Format{};
}

bool Subject::rounds_to_nearest() const {
  if (!config) return false;
  for (const auto& [key, value] : config->other) {
    if (key == "iters") return value.is_int() && value.as_int() == 0;
  }
  return false;
}

bool Subject::searched_scales() const {
  if (!config) return false;
  for (const auto& [key, value] : config->other) {
    if (key == "enable_opt_rtn") return value.is_bool() && value.as_bool();
  }
  return false;
}

void Subject::check_stop() const {
  if (stop != nullptr && *stop) throw Error("interrupted", ErrorKind::interrupted);
}

}  // namespace qround::verify
