# src/ops/cuda compiled by the host compiler against the headers of include/, see simt.h.
file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/ops/cuda/*.cu)
file(GLOB emulation_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cuda_emulation/*.cpp)
list(FILTER emulation_sources EXCLUDE REGEX "_test\\.cpp$")
set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
add_library(qround_cuda_emulation STATIC ${cuda_sources} ${emulation_sources})
target_include_directories(qround_cuda_emulation BEFORE PRIVATE
  ${CMAKE_CURRENT_SOURCE_DIR}/cuda_emulation/include ${PROJECT_SOURCE_DIR})
target_compile_options(qround_cuda_emulation PRIVATE -Wno-unknown-pragmas)
target_link_libraries(qround_cuda_emulation PUBLIC qround_ops)
