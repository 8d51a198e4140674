# test/interleave.cmake — the library's own code, all interleavings of small scenarios (interleave/README.md).
# SPDX-License-Identifier: MIT

# gcc only, as the steps before atomics need its builtins; and with every assertion there is.
if(NOT CMAKE_C_COMPILER_ID STREQUAL "GNU" OR HAKMEM_SANITIZE OR HAKMEM_CANARY OR NOT HAKMEM_DEBUG EQUAL 2)
  return()
endif()

# Nothing runs before main(): start-up is part of what is looked at.
hak_add_flavour(interleave HAK_OVERRIDE=0 constructor=used destructor=used)
foreach(layer IN LISTS HAK_LAYERS)
  if(TARGET hak_interleave_${layer})
    target_include_directories(hak_interleave_${layer} BEFORE PRIVATE interleave/shadow)
    target_compile_options(hak_interleave_${layer} PRIVATE -O1 -fsanitize=thread -U__SANITIZE_THREAD__)
  endif()
endforeach()
target_compile_definitions(hak_interleave_base PRIVATE INTERLEAVE_REAL_LOCK)

file(STRINGS interleave/skippable.def skippable REGEX "^SKIPPABLE[(]")
list(TRANSFORM skippable REPLACE "^SKIPPABLE[(]([a-z0-9_]+),.*" "\\1")
set(wrapped ${skippable}
  hak_prim_map hak_prim_purge hak_prim_purge_ranges hak_prim_clock_ms hak_prim_futex_wait
  hak_prim_futex_wake_one hak_prim_thread_exit_register hak_prim_thread_exit_arm hak_prim_thread_start
  hak_prim_sleep_ms hak_prim_fork_register hak_ace_epoch)
list(TRANSFORM wrapped PREPEND "-Wl,--wrap=")

file(GLOB sources CONFIGURE_DEPENDS interleave/*.c)
list(FILTER sources EXCLUDE REGEX "/interleave\\.c$") # first, it names the program
hak_flavour_objects(objects interleave)
hak_add_test_program(interleave ${CMAKE_CURRENT_SOURCE_DIR}/interleave/interleave.c ${sources} ${objects})
target_compile_definitions(interleave PRIVATE HAK_OVERRIDE=0)
target_include_directories(interleave PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(interleave PRIVATE hak_configuration)
target_link_options(interleave PRIVATE ${wrapped})
hak_add_test(interleave real_code TIMEOUT 900 COMMAND interleave)
