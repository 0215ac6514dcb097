#include "ops/cpu/simd_target.h"

#include <algorithm>
#include <array>
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

// What AVX-512 processors have beyond HWY_AVX3, each level with those before it.
enum Avx512Level : int { kPlain, kVnni, kBf16 };
constexpr std::array<std::string_view, 3> kLevelNames = {"AVX3", "AVX3_VNNI", "AVX3_BF16"};

Avx512Level detect_avx512_level() {
#if HWY_ARCH_X86
  if (__builtin_cpu_supports("avx512vnni") == 0) return kPlain;
  return __builtin_cpu_supports("avx512bf16") == 0 ? kVnni : kBf16;
#else
  return kPlain;
#endif
}

Avx512Level avx512_level() {
  static const Avx512Level level = detect_avx512_level();
  return level;
}

std::atomic<int>& highest_allowed() {
  static std::atomic<int> level = kBf16;
  return level;
}

bool uses(Avx512Level level) {
  return avx512_level() >= level && highest_allowed().load(std::memory_order_relaxed) >= level;
}

// Calls visit(name, target of Highway, level) for all that this machine has, best first.
template <class Visit>
void for_each_target(const Visit& visit) {
  for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
    const int64_t target = left & -left;
    if (target != HWY_AVX3) {
      visit(std::string_view(hwy::TargetName(target)), target, kPlain);
      continue;
    }
    for (int level = avx512_level(); level >= kPlain; --level)
      visit(kLevelNames[static_cast<size_t>(level)], target, static_cast<Avx512Level>(level));
  }
}

}  // namespace

bool uses_avx512_vnni() { return uses(kVnni); }
bool uses_avx512_bf16() { return uses(kBf16); }

}  // namespace cpu

std::string simd_target() {
  const int64_t target = cpu::chosen_target();
  if (target != HWY_AVX3) return hwy::TargetName(target);
  const int level = std::min<int>(cpu::avx512_level(), cpu::highest_allowed());
  return std::string(cpu::kLevelNames[static_cast<size_t>(level)]);
}

std::vector<std::string> simd_targets() {
  std::vector<std::string> names;
  cpu::for_each_target([&](std::string_view name, int64_t, int) { names.emplace_back(name); });
  return names;
}

void force_simd_target(std::string_view name) {
  hwy::SetSupportedTargetsForTest(0);
  int64_t targets = 0;
  int allowed = cpu::kBf16;
  std::string known;
  cpu::for_each_target([&](std::string_view candidate, int64_t target, int level) {
    known += (known.empty() ? "" : ", ") + std::string(candidate);
    if (candidate != name) return;
    targets = target;
    allowed = level;
  });
  if (targets == 0 && !name.empty()) {
    throw Error("unknown vector instructions, or none of this processor")
        .expected(known)
        .actual(name);
  }
  cpu::highest_allowed() = allowed;
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace qround::ops
#endif
