# What stands behind ops::cuda::backend(): src/ops/cuda compiled by nvcc, or src/ops/cuda_absent.cpp. A program
# may name another library in its property QROUND_CUDA_LIBRARY (the tests' emulation).
if(QROUND_CUDA)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/ops/cuda/*.cu)
  add_library(qround_ops_cuda STATIC ${cuda_sources})
  target_compile_options(qround_ops_cuda PRIVATE --expt-relaxed-constexpr --extended-lambda -Xcompiler=-Wall
    $<$<BOOL:${QROUND_WERROR}>:--Werror=all-warnings>)
  set_target_properties(qround_ops_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  target_link_libraries(qround_ops_cuda PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
else()
  add_library(qround_ops_cuda STATIC ops/cuda_absent.cpp)
endif()
target_link_libraries(qround_ops_cuda PUBLIC qround_ops)
set(chosen "$<TARGET_PROPERTY:QROUND_CUDA_LIBRARY>")
target_link_libraries(qround_ops INTERFACE "$<IF:$<BOOL:${chosen}>,${chosen},qround_ops_cuda>")
