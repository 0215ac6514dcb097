// The f32 vectors of the kernels and how many of them fit into registers. Included once per vector
// target.
#if defined(QROUND_OPS_CPU_F32_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QROUND_OPS_CPU_F32_VECTOR_INL_H_
#undef QROUND_OPS_CPU_F32_VECTOR_INL_H_
#else
#define QROUND_OPS_CPU_F32_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace qround::ops::cpu::HWY_NAMESPACE {

// 32 vector registers, not 16.
constexpr bool kManyRegisters =
    HWY_ARCH_ARM_A64 != 0 || (HWY_ARCH_X86 != 0 && HWY_TARGET <= HWY_AVX3);

// Kernels hold tiles of vectors in arrays, which the sizeless vectors of SVE do not allow; Highway
// 1.0.3 leaves SVE out by itself.
using F32 = hwy::HWY_NAMESPACE::CappedTag<float, 16>;
using F32Vector = hwy::HWY_NAMESPACE::Vec<F32>;
constexpr int64_t kLanes = hwy::HWY_NAMESPACE::MaxLanes(F32());
using OneF32 = hwy::HWY_NAMESPACE::CappedTag<float, 1>;  // for what is left over

}  // namespace qround::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
