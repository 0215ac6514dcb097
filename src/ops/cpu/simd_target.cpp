#include "ops/cpu/simd_target.h"

#include <atomic>

#include "base/error.h"
#include "ops/backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/simd_target.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
int64_t target() { return HWY_TARGET; }
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops {
namespace cpu {
namespace {

HWY_EXPORT(target);
int64_t chosen_target() { return HWY_DYNAMIC_DISPATCH(target)(); }

constexpr std::string_view kVnniName = "AVX3_VNNI";

bool has_avx512_vnni() {
#if HWY_ARCH_X86
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}

std::atomic<bool>& vnni_allowed() {
  static std::atomic<bool> allowed = true;
  return allowed;
}

}  // namespace

bool uses_avx512_vnni() {
  static const bool present = has_avx512_vnni();
  return present && vnni_allowed().load(std::memory_order_relaxed);
}

}  // namespace cpu

std::string simd_target() {
  const int64_t target = cpu::chosen_target();
  if (target == HWY_AVX3 && cpu::uses_avx512_vnni()) return std::string(cpu::kVnniName);
  return hwy::TargetName(target);
}

std::vector<std::string> simd_targets() {
  std::vector<std::string> names;
  for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
    const int64_t target = left & -left;
    if (target == HWY_AVX3 && cpu::has_avx512_vnni()) names.emplace_back(cpu::kVnniName);
    names.emplace_back(hwy::TargetName(target));
  }
  return names;
}

void force_simd_target(std::string_view name) {
  hwy::SetSupportedTargetsForTest(0);
  cpu::vnni_allowed() = true;
  int64_t targets = 0;
  std::string known;
  for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
    const int64_t target = left & -left;
    const bool vnni = target == HWY_AVX3 && name == cpu::kVnniName && cpu::has_avx512_vnni();
    if (vnni || name == hwy::TargetName(target)) {
      targets = target;
      cpu::vnni_allowed() = vnni;
    }
  }
  if (targets == 0 && !name.empty()) {
    for (const std::string& target : simd_targets()) known += (known.empty() ? "" : ", ") + target;
    throw Error("unknown vector instructions, or none of this processor")
        .expected(known)
        .actual(name);
  }
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace qround::ops
#endif
