# test/shadow.cmake — random operations beside a model: preloaded, or on the prefixed build under a sanitizer.
# SPDX-License-Identifier: MIT

file(GLOB sources CONFIGURE_DEPENDS shadow/*.c)
list(FILTER sources EXCLUDE REGEX "/shadow\\.c$")
set(lookup "")
if(NOT HAK_FULL)
  set(lookup $<TARGET_OBJECTS:hak_prefixed_lookup>)
endif()
hak_add_test_program(shadow ${CMAKE_CURRENT_SOURCE_DIR}/shadow/shadow.c ${sources} ${lookup})
target_compile_options(shadow PRIVATE -fno-builtin)
target_include_directories(shadow PRIVATE ${PROJECT_SOURCE_DIR}/include)
set(environment "LD_PRELOAD=${PROJECT_BINARY_DIR}/libhakmem.so.${HAK_ABI_VERSION}")
if(NOT HAK_FULL)
  hak_link_prefixed(shadow)
  set(environment ${HAK_SANITIZER_ENVIRONMENT})
endif()

# hak_add_shadow_test(<name> [ENVIRONMENT VARIABLE=value...] [ARGUMENTS ...])
function(hak_add_shadow_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "ENVIRONMENT;ARGUMENTS")
  set(observed "")
  if(name MATCHES "_observed$")
    set(observed ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/observed.sh)
  endif()
  hak_add_test(shadow ${name} TIMEOUT 900
    COMMAND ${observed} ${launcher} $<TARGET_FILE:shadow> ${arg_ARGUMENTS})
  set_property(TEST shadow.${name} PROPERTY ENVIRONMENT ${environment} ${arg_ENVIRONMENT})
endfunction()

# Arguments: operations, first seed, seeds. The release build makes most calls; a debug build or a sanitizer
# checks more in each and audits the heap between them as well, and the thread sanitizer is for threads.
set(audit -c 0)
set(alone 1000000)
set(together 500000)
set(seeds 8)
if(HAKMEM_SANITIZE OR HAKMEM_DEBUG GREATER 0 OR HAKMEM_CANARY)
  set(audit -c 65536)
  set(alone 150000)
  set(together 100000)
endif()
if(HAKMEM_SANITIZE MATCHES "thread")
  set(seeds 1)
endif()
# The model's process is a fork of one that has a helper thread already.
set(helped HAKMEM_HELPER=on TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:die_after_fork=0)
hak_add_shadow_test(alone ARGUMENTS ${audit} ${alone} 1 ${seeds})
hak_add_shadow_test(alone_observed ARGUMENTS ${audit} ${together} 11)
hak_add_shadow_test(alone_checked ENVIRONMENT HAKMEM_CHECKS=1 ARGUMENTS ${audit} ${together} 12)
hak_add_shadow_test(alone_helped ENVIRONMENT ${helped} ARGUMENTS ${audit} ${together} 13)
foreach(threads 2 4 32 128)
  hak_add_shadow_test(threads_${threads} ARGUMENTS -t ${threads} ${audit} ${together} ${threads})
endforeach()
hak_add_shadow_test(threads_observed ARGUMENTS -t 4 ${audit} ${together} 21)
hak_add_shadow_test(threads_checked ENVIRONMENT HAKMEM_CHECKS=1
  ARGUMENTS -t 4 ${audit} ${together} 22)
hak_add_shadow_test(threads_helped ENVIRONMENT ${helped}
  ARGUMENTS -t 4 ${audit} ${together} 23)

# That the model can fail, and says how.
if(HAK_FULL)
  add_library(shadow_spoiling MODULE shadow/spoil/spoiling.c)
  set_target_properties(shadow_spoiling PROPERTIES OUTPUT_NAME spoiling PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test/shadow)
  target_compile_options(shadow_spoiling PRIVATE -fno-builtin)
  target_link_libraries(shadow_spoiling PRIVATE hak_warnings ${CMAKE_DL_LIBS})
  hak_add_test(shadow shrinks TIMEOUT 900
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/shadow/shrinks.sh
      $<TARGET_FILE:shadow> $<TARGET_FILE:shadow_spoiling>)
  set_property(TEST shadow.shrinks PROPERTY ENVIRONMENT ${environment})
endif()
