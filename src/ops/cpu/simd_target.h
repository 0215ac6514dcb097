// Which vector instructions the kernels use.
#pragma once

namespace qround::ops::cpu {

// AVX-512 VNNI, which is no vector target of its own: kernels of AVX-512 ask.
bool uses_avx512_vnni();

}  // namespace qround::ops::cpu
