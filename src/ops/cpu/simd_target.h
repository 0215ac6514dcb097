// Which vector instructions the kernels use.
#pragma once

namespace qround::ops::cpu {

// Parts of AVX-512 that are no vector targets of their own: kernels of AVX-512 ask.
bool uses_avx512_vnni();
bool uses_avx512_bf16();

}  // namespace qround::ops::cpu
