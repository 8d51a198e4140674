# cmake/products.cmake — the libraries and objects that users link, preload or embed.
# SPDX-License-Identifier: MIT

set(HAK_ABI_VERSION 1)
set(HAK_MAP ${PROJECT_SOURCE_DIR}/src/api/libhakmem.map)

# hak_add_library(<target> <output name> SHARED|STATIC <flavour>)
function(hak_add_library target output_name kind flavour)
  hak_flavour_objects(objects ${flavour})
  add_library(${target} ${kind} ${objects})
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${output_name} LINKER_LANGUAGE C
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
    ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_include_directories(${target} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_link_libraries(${target} PUBLIC Threads::Threads)
  if(kind STREQUAL "STATIC")
    target_link_libraries(${target} PUBLIC hak_sanitize)
    return()
  endif()
  # nodelete: our TLS pointer and the blocks of the process outlive any dlclose.
  set_target_properties(${target} PROPERTIES
    VERSION ${HAK_ABI_VERSION}.0.0 SOVERSION ${HAK_ABI_VERSION} LINK_DEPENDS ${HAK_MAP})
  target_link_options(${target} PRIVATE
    -Wl,-z,nodelete -Wl,-z,relro,-z,now -Wl,--no-undefined -Wl,--version-script=${HAK_MAP})
endfunction()

hak_add_flavour(prefixed HAK_OVERRIDE=0)
hak_add_library(hakmem_prefixed_static hakmem-prefixed STATIC prefixed)

if(NOT HAKMEM_SANITIZE AND NOT HAKMEM_COVERAGE)
  hak_add_flavour(override HAK_OVERRIDE=1)
  hak_add_library(hakmem_shared hakmem SHARED override)
endif()

if(HAK_FULL)
  hak_add_library(hakmem_prefixed_shared hakmem-prefixed SHARED prefixed)
  hak_add_library(hakmem_static hakmem STATIC override)

  # The all-in-one file as one object, to be linked first into a program.
  add_library(hakmem_all_in_one OBJECT ${PROJECT_SOURCE_DIR}/src/hakmem.c)
  target_compile_definitions(hakmem_all_in_one PRIVATE HAK_OVERRIDE=1)
  target_link_libraries(hakmem_all_in_one PRIVATE hak_core)
  set(HAK_OVERRIDE_OBJECT ${PROJECT_BINARY_DIR}/hakmem-override.o)
  add_custom_command(OUTPUT ${HAK_OVERRIDE_OBJECT}
    COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_OBJECTS:hakmem_all_in_one> ${HAK_OVERRIDE_OBJECT}
    DEPENDS hakmem_all_in_one $<TARGET_OBJECTS:hakmem_all_in_one>
    COMMENT "Copying hakmem-override.o" VERBATIM)
  add_custom_target(hakmem_override_object ALL DEPENDS ${HAK_OVERRIDE_OBJECT})

  # The promise that one cc line is enough, in both forms.
  set(line ${CMAKE_C_COMPILER} -std=gnu17 -O2 -Iinclude -Isrc -fno-builtin -c src/hakmem.c -o)
  add_custom_target(all-in-one
    COMMAND ${line} ${PROJECT_BINARY_DIR}/all-in-one-override.o
    COMMAND ${line} ${PROJECT_BINARY_DIR}/all-in-one-prefixed.o -DHAK_OVERRIDE=0
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
endif()
