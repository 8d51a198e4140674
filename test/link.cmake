# test/link.cmake — every product, linked in every way that is promised, serves its program.
# SPDX-License-Identifier: MIT

# hak_add_link_test(<name> <what to link...>)
function(hak_add_link_test name)
  hak_add_test_program(link_${name} ${CMAKE_CURRENT_SOURCE_DIR}/link/serves.c)
  set_target_properties(link_${name} PROPERTIES OUTPUT_NAME serves_${name})
  target_compile_options(link_${name} PRIVATE -fno-builtin)
  target_include_directories(link_${name} PRIVATE ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(link_${name} PRIVATE ${ARGN})
  hak_add_test(link ${name} COMMAND $<TARGET_FILE:link_${name}>)
endfunction()

hak_add_link_test(shared hakmem_shared)
hak_add_link_test(archive hakmem_static)
hak_add_link_test(archive_static_libc hakmem_static -static)
hak_add_link_test(archive_static_pie hakmem_static -static-pie)
target_compile_options(link_archive_static_pie PRIVATE -fPIE)
foreach(name object object_static_libc)
  hak_add_link_test(${name} ${HAK_OVERRIDE_OBJECT})
  add_dependencies(link_${name} hakmem_override_object)
endforeach()
target_link_libraries(link_object_static_libc PRIVATE -static)
