#include "ops/backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/simd_target.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {
const char* target_name() { return hwy::TargetName(HWY_TARGET); }
}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qround::ops {
namespace cpu {
namespace {
HWY_EXPORT(target_name);
const char* best_target_name() { return HWY_DYNAMIC_DISPATCH(target_name)(); }
}  // namespace
}  // namespace cpu

std::string simd_target() { return cpu::best_target_name(); }

}  // namespace qround::ops
#endif
