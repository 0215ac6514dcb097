#include "verify/kernel_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace qround::verify {
namespace {

constexpr int64_t kSmallestMoeGroup = 32;

// Of one GPU.
struct LocalShape {
  int64_t n = 0, k = 0;
  bool shards_divide = true;  // each by tp, in words of eight outputs
};

bool is_ba(const RuntimeModule& module) {
  const Role role = module.first().role;
  return role == Role::in_proj_b || role == Role::in_proj_a;
}

bool is_key_or_value(Role role) { return role == Role::k_proj || role == Role::v_proj; }

LocalShape local_shape(const Subject& subject, const RuntimeModule& module, int64_t tp) {
  LocalShape local;
  for (const Parameter* p : module.shards) {
    const int64_t n = p->shape[0], k = p->shape[1];
    int64_t parts = p->shard == ShardAxis::outputs ? tp : 1;
    // With fewer key and value heads than GPUs each head is held by several.
    if (is_key_or_value(p->role)) parts = std::min(tp, subject.model.attention.kv_heads);
    local.n += n / parts;
    local.k = p->shard == ShardAxis::inputs ? k / tp : k;
    local.shards_divide &= n % parts == 0 && n / parts % kCodesPerWord == 0;
    if (p->shard == ShardAxis::inputs) local.shards_divide &= k % tp == 0;
  }
  return local;
}

KernelChoice refused(std::string module, std::string why) {
  return {std::move(module),
          Fit::refused,
          {},
          "ValueError: Failed to find a kernel that can implement the WNA16 linear layer: " + why};
}

std::string shape_of(const LocalShape& local, int64_t group) {
  return fmt::format("N = {}, K = {} per GPU, groups of {}", local.n, local.k, group);
}

KernelChoice choose_vllm(const std::string& name, const LocalShape& local, int64_t group,
                         const Release& release) {
  if (!local.shards_divide || local.k % kCodesPerWord != 0)
    return refused(name, "parts are no multiples of 8 (" + shape_of(local, group) + ")");
  if (local.k % group != 0)
    return refused(name, "groups cross GPUs (" + shape_of(local, group) +
                             "); on Hopper Machete takes it, with unknown results");
  if (!release.pads_tiles && (local.n % 64 != 0 || local.k % 128 != 0))
    return refused(name, "no multiple of 64 x 128 (" + shape_of(local, group) + ")");
  const bool machete = group != 32 && local.k % 64 == 0 && local.n % 128 == 0;
  return {name, Fit::good, machete ? "Marlin (Hopper: Machete)" : "Marlin", {}};
}

KernelChoice choose_sglang(const std::string& name, const LocalShape& local, int64_t group) {
  if (!local.shards_divide || local.n % 64 != 0 || local.k % 16 != 0)
    return {
        name, Fit::refused, {}, "gptq_marlin_repack refuses the shape: " + shape_of(local, group)};
  if (local.k % group != 0 || local.k % 128 != 0)
    return {name,
            Fit::undefined,
            {},
            "its shape test is computed and ignored: " + shape_of(local, group)};
  return {name, Fit::good, "Marlin", {}};
}

KernelChoice choose_transformers(const std::string& name, const LocalShape& local, int64_t group) {
  if (local.k % 32 != 0 || local.n % 32 != 0 || local.k % group != 0)
    return {name,
            Fit::refused,
            {},
            "ValueError: No compatible backend found for layer: " + shape_of(local, group)};
  return {name,
          Fit::good,
          local.n % 64 == 0 ? "gptqmodel Marlin, else Triton or torch" : "Triton or torch",
          {}};
}

KernelChoice choose_experts(const Subject& subject, const std::string& name, int64_t group,
                            int64_t tp) {
  const int64_t hidden = subject.model.hidden;
  const int64_t whole = subject.model.moe ? subject.model.moe->expert_width : 0;
  const int64_t width = whole / tp;
  if (whole % tp != 0 || width == 0)
    return {name,
            Fit::refused,
            {},
            fmt::format("AssertionError: {} expert channels among {} GPUs", whole, tp)};
  if (hidden % 128 == 0 && width % std::max<int64_t>(64, group) == 0)
    return {name, Fit::good, "MoE Marlin", {}};
  int64_t smaller = group;
  while (smaller >= kSmallestMoeGroup && (width % smaller != 0 || hidden % smaller != 0))
    smaller /= 2;
  if (smaller >= kSmallestMoeGroup)
    return {name, Fit::slow, fmt::format("MoeWNA16 with groups of {}", smaller),
            fmt::format("{} channels of an expert per GPU are no multiple of {}", width,
                        std::max<int64_t>(64, group))};
  return {name,
          Fit::refused,
          {},
          fmt::format("AssertionError: no group of 32 or more divides {} channels per GPU and {}",
                      width, hidden)};
}

KernelChoice choose(const Subject& subject, Reader reader, const Release& release,
                    const RuntimeModule& module, int64_t group, int64_t tp) {
  if (module.kind == ModuleKind::experts) {
    KernelChoice choice = choose_experts(subject, module.name, group, tp);
    choice.experts = true;
    return choice;
  }
  const bool whole = is_ba(module) && release.replicates_ba;
  const LocalShape local = local_shape(subject, module, whole ? 1 : tp);
  switch (reader) {
    case Reader::vllm:
      return choose_vllm(module.name, local, group, release);
    case Reader::sglang:
      return choose_sglang(module.name, local, group);
    case Reader::transformers:
      return choose_transformers(module.name, local, group);
  }
  return {};
}

bool any_int4(const Subject& subject, const RuntimeModule& module) {
  return std::any_of(module.shards.begin(), module.shards.end(),
                     [&](const Parameter* p) { return subject.form_of(*p) == Form::int4; });
}

}  // namespace

std::vector<KernelChoice> choose_kernels(const Subject& subject, Reader reader,
                                         const Release& release, int64_t tp) {
  const int64_t group = subject.names.group_size;
  std::vector<KernelChoice> choices;
  if (group <= 0) return choices;
  std::set<std::pair<Part, Role>> seen;
  for (const RuntimeModule& module : runtime_modules(reader, subject.table)) {
    if (!any_int4(subject, module)) continue;
    if (!seen.emplace(module.first().part, module.first().role).second) continue;
    choices.push_back(choose(subject, reader, release, module, group, tp));
  }
  return choices;
}

std::string refusal_of_heads(const ModelConfig& config, int64_t tp) {
  const auto check = [&](int64_t heads, const char* what) -> std::string {
    if (heads % tp == 0) return "";
    return fmt::format("{} {} do not divide among {} GPUs", heads, what, tp);
  };
  std::string text = check(config.attention.heads, "attention heads");
  if (text.empty()) text = check(config.delta_net.key_heads, "linear attention key heads");
  if (text.empty()) text = check(config.delta_net.value_heads, "linear attention value heads");
  const int64_t kv_heads = config.attention.kv_heads;
  if (text.empty() && kv_heads % tp != 0 && tp % kv_heads != 0)
    text =
        fmt::format("{} key and value heads and {} GPUs: neither divides the other", kv_heads, tp);
  return text;
}

}  // namespace qround::verify
