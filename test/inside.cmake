# test/inside.cmake — tests that look inside: unit tests layer by layer, faults, and stress, on the
# prefixed build, so that the test framework is not served by what it tests.
# SPDX-License-Identifier: MIT

find_library(CMOCKA cmocka REQUIRED)
add_library(hak_cmocka INTERFACE)
target_link_libraries(hak_cmocka INTERFACE ${CMOCKA})
# cmocka hands every test a state that most do not look at.
target_compile_options(hak_cmocka INTERFACE -Wno-unused-parameter)

# The thread sanitizer needs an address space laid out as it expects: run it without randomization
# where that may be had (a container's seccomp profile can forbid it).
set(launcher "")
if(HAKMEM_SANITIZE MATCHES "thread")
  find_program(SETARCH setarch)
  if(SETARCH)
    execute_process(COMMAND ${SETARCH} -R true RESULT_VARIABLE refused ERROR_QUIET)
    if(NOT refused)
      set(launcher ${SETARCH} -R)
    endif()
  endif()
endif()
# Children that end by _exit() or abort() say what they counted before.
if(HAKMEM_COVERAGE)
  add_library(hak_coverage_flush OBJECT coverage/coverage_flush.c)
  target_link_libraries(hak_coverage_flush PRIVATE hak_warnings)
  target_link_options(hak_cmocka INTERFACE --coverage -Wl,--wrap=_exit,--wrap=abort)
  target_compile_definitions(hak_cmocka INTERFACE FAULT_COUNTED=1)
  target_sources(hak_cmocka INTERFACE $<TARGET_OBJECTS:hak_coverage_flush>)
endif()

# hak_add_inside_test(<suite> <name> <source> <objects...>): one cmocka program.
function(hak_add_inside_test suite name source)
  hak_add_test_program(${suite}_${name} ${source} ${ARGN})
  target_compile_definitions(${suite}_${name} PRIVATE HAK_OVERRIDE=0)
  target_include_directories(${suite}_${name} PRIVATE ${PROJECT_SOURCE_DIR}/test)
  target_link_libraries(${suite}_${name} PRIVATE hak_configuration hak_cmocka)
  hak_add_test(${suite} ${name} COMMAND ${launcher} $<TARGET_FILE:${suite}_${name}>)
  set_property(TEST ${suite}.${name} PROPERTY ENVIRONMENT ${HAK_SANITIZER_ENVIRONMENT})
endfunction()

# A child at each instruction: where coverage is counted there are far more of both, and each child writes
# its counters.
set(left_out "^$")
if(HAKMEM_COVERAGE)
  set(left_out "/(test_fork_steps|turns)[.]c$")
endif()

# unit: test_<module>.c of a layer links that layer and those below, so that a call upward does
# not link.
foreach(layer IN LISTS HAK_LAYERS)
  hak_flavour_objects(objects prefixed UP_TO ${layer})
  file(GLOB sources CONFIGURE_DEPENDS unit/${layer}/test_*.c)
  list(FILTER sources EXCLUDE REGEX "${left_out}")
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME_WE)
    string(REGEX REPLACE "^test_" "" name ${name})
    hak_add_inside_test(unit ${layer}.${name} ${source} ${objects})
  endforeach()
endforeach()

# fault: all layers on a scripted kernel in prim's place. The release build of gcc goes through every failure,
# each other flavour through a part of them.
set(fault_part 1)
if(HAKMEM_SANITIZE OR HAKMEM_COVERAGE OR HAKMEM_DEBUG GREATER 0 OR NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
  set(fault_part 3)
endif()
hak_flavour_objects(objects prefixed WITHOUT prim)
file(GLOB sources CONFIGURE_DEPENDS fault/*.c)
list(FILTER sources EXCLUDE REGEX "${left_out}")
foreach(source IN LISTS sources)
  get_filename_component(name ${source} NAME_WE)
  string(REGEX REPLACE "^test_" "" name ${name})
  hak_add_inside_test(fault ${name} ${source} ${objects} $<TARGET_OBJECTS:hak_fake_prim>)
  target_compile_definitions(fault_${name} PRIVATE FAULT_PART=${fault_part})
endforeach()
