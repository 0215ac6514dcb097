# One static library per folder of src/. qround_layer(<name> USES <layers...> LINKS <third-party targets...>)
# USES is the layer table of docs/architecture.md; tests/include_graph_test.cmake checks the includes against it.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

add_library(qround_flags INTERFACE)
target_include_directories(qround_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(qround_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:\
-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion;-Wno-missing-field-initializers;-Werror=switch;\
$<$<CXX_COMPILER_ID:Clang>:-Wno-missing-designated-field-initializers>;\
$<$<BOOL:${QROUND_WERROR}>:-Werror>;\
-fno-math-errno;-ffp-contract=off>")
if(QROUND_SANITIZE)
  # Among a sanitizer's checks g++ takes moved strings and optionals for uninitialized.
  target_compile_options(qround_flags INTERFACE -fsanitize=${QROUND_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(qround_flags INTERFACE -fsanitize=${QROUND_SANITIZE})
endif()

function(qround_layer name)
  cmake_parse_arguments(ARG "" "" "USES;LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/cuda_absent\\.cpp$")
  if(NOT sources)
    return()
  endif()
  add_library(qround_${name} STATIC ${sources})
  target_link_libraries(qround_${name} PUBLIC qround_flags)
  foreach(layer ${ARG_USES})
    if(TARGET qround_${layer})
      target_link_libraries(qround_${name} PUBLIC qround_${layer})
    endif()
  endforeach()
  target_link_libraries(qround_${name} PRIVATE ${ARG_LINKS})
endfunction()
