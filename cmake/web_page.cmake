# The files of src/server/page as string constants in web_page_files.h.
set(page_directory ${PROJECT_SOURCE_DIR}/src/server/page)
set(page_header ${PROJECT_BINARY_DIR}/generated/web_page_files.h)
foreach(kind html css js)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page_directory}/page.${kind})
  file(READ ${page_directory}/page.${kind} page_${kind})
endforeach()
configure_file(${page_directory}/web_page_files.h.in ${page_header} @ONLY)
target_include_directories(qround_server PRIVATE ${PROJECT_BINARY_DIR}/generated)
