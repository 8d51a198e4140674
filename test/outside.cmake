# test/outside.cmake — tests that see only the products, as a user's program does.
# SPDX-License-Identifier: MIT
#
# A .c or .cpp of a suite is a program that runs with the library preloaded; a script starts what it
# needs itself. Both find the products in the environment.

set(HAK_LIBRARY ${PROJECT_BINARY_DIR}/libhakmem.so.${HAK_ABI_VERSION})
set(HAK_PRODUCTS
  "HAKTEST_LIB=${HAK_LIBRARY}" "HAKTEST_CLI=${PROJECT_BINARY_DIR}/hakmem"
  "HAKTEST_BIN=${PROJECT_BINARY_DIR}" "CC=${CMAKE_C_COMPILER}")

include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
endif()

# hak_add_outside_programs(<suite>): builds every program of the suite; sets <suite>_programs.
function(hak_add_outside_programs suite)
  file(GLOB sources CONFIGURE_DEPENDS ${suite}/*.c)
  if(CMAKE_CXX_COMPILER)
    file(GLOB sources_cxx CONFIGURE_DEPENDS ${suite}/*.cpp)
  endif()
  set(programs "")
  foreach(source IN LISTS sources sources_cxx)
    get_filename_component(name ${source} NAME_WE)
    hak_add_test_program(${suite}_${name} ${source})
    # A compiler may drop a malloc whose block it sees freed; a test wants every call made.
    target_compile_options(${suite}_${name} PRIVATE
      -fno-builtin $<$<COMPILE_LANGUAGE:CXX>:-fsized-deallocation>)
    target_include_directories(${suite}_${name} PRIVATE ${PROJECT_SOURCE_DIR}/include)
    list(APPEND programs ${name})
  endforeach()
  set(${suite}_programs ${programs} PARENT_SCOPE)
endfunction()

# hak_add_preloaded_test(<suite> <name> <program> [ARGUMENTS ...] [ENVIRONMENT VARIABLE=value...])
function(hak_add_preloaded_test suite name program)
  cmake_parse_arguments(PARSE_ARGV 3 arg "" "" "ARGUMENTS;ENVIRONMENT")
  hak_add_test(${suite} ${name} TIMEOUT 900
    COMMAND $<TARGET_FILE:${suite}_${program}> ${arg_ARGUMENTS})
  set_property(TEST ${suite}.${name} PROPERTY
    ENVIRONMENT "HAKTEST_LIB=${HAK_LIBRARY}" "LD_PRELOAD=${HAK_LIBRARY}" ${arg_ENVIRONMENT})
endfunction()

# hak_add_script_tests(<suite> <pattern>): one test per script.
function(hak_add_script_tests suite pattern)
  file(GLOB scripts CONFIGURE_DEPENDS ${suite}/${pattern})
  foreach(script IN LISTS scripts)
    get_filename_component(name ${script} NAME_WE)
    string(REGEX REPLACE "^test_" "" name ${name})
    hak_add_test(${suite} ${name} TIMEOUT 900 COMMAND ${script})
    set_property(TEST ${suite}.${name} PROPERTY ENVIRONMENT ${HAK_PRODUCTS})
  endforeach()
endfunction()

hak_add_outside_programs(promise)
# Loaded by dl_plugin, beside which it lies.
add_library(promise_plugin MODULE promise/plugin/allocating.c)
set_target_properties(promise_plugin PROPERTIES OUTPUT_NAME allocating PREFIX ""
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test/promise)
target_compile_options(promise_plugin PRIVATE -fno-builtin)
target_link_libraries(promise_plugin PRIVATE hak_warnings Threads::Threads)
# Loaded by dl_tls.
foreach(number RANGE 1 20)
  math(EXPR is_static "${number} % 2")
  add_library(promise_tls_${number} MODULE promise/plugin/tls_storage.c)
  set_target_properties(promise_tls_${number} PROPERTIES OUTPUT_NAME tls_${number} PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test/promise)
  target_compile_definitions(promise_tls_${number} PRIVATE STORAGE_IS_STATIC=${is_static})
  target_link_libraries(promise_tls_${number} PRIVATE hak_warnings)
endforeach()
# Named in LD_AUDIT by audit.
foreach(name auditor auditor_of_its_own)
  add_library(promise_${name} MODULE promise/plugin/auditor.c)
  set_target_properties(promise_${name} PROPERTIES OUTPUT_NAME ${name} PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test/promise)
  target_compile_options(promise_${name} PRIVATE -fno-builtin)
  target_link_libraries(promise_${name} PRIVATE hak_warnings)
endforeach()
target_link_libraries(promise_auditor_of_its_own PRIVATE hakmem_shared)
foreach(program IN LISTS promise_programs)
  hak_add_preloaded_test(promise ${program} ${program})
endforeach()
hak_add_preloaded_test(promise sized_free_checked sized_free ENVIRONMENT HAKMEM_CHECKS=1)
hak_add_preloaded_test(promise signal_storm_checked signal_storm ENVIRONMENT HAKMEM_CHECKS=1)
hak_add_script_tests(promise *.sh)

set(canary "")
if(HAKMEM_CANARY)
  set(canary --canary)
endif()
hak_add_outside_programs(death)
set(death ${CMAKE_CURRENT_SOURCE_DIR}/death/run_death.py --answers $<TARGET_FILE:death_answers>
  $<TARGET_FILE:death_misuse> $<TARGET_FILE:death_access> ${canary})
hak_add_test(death misuse TIMEOUT 900 COMMAND ${death})
hak_add_test(death misuse_observed TIMEOUT 900 COMMAND ${death} --observed)
hak_add_test(death table COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/death/run_death.py
  --table ${PROJECT_SOURCE_DIR}/docs/misuse.md)
set_property(TEST death.misuse death.misuse_observed PROPERTY ENVIRONMENT ${HAK_PRODUCTS})

hak_add_outside_programs(stress)
foreach(program IN LISTS stress_programs)
  hak_add_preloaded_test(stress ${program} ${program} ARGUMENTS ${arguments_${program}})
endforeach()

# The canary's code takes a page or two more; it is no product.
hak_add_test(budget budgets TIMEOUT 1800 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/budget/budgets.py
             --faults-max $<IF:$<BOOL:${HAKMEM_CANARY}>,30,27>)
set_property(TEST budget.budgets PROPERTY ENVIRONMENT ${HAK_PRODUCTS})

# dev test installs every program this needs, so none may be missing.
hak_add_test(abi real_programs TIMEOUT 1200
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/abi/real_programs.py --require-all)
set_property(TEST abi.real_programs PROPERTY ENVIRONMENT ${HAK_PRODUCTS})

hak_add_script_tests(cli test_*.py)

# The parts of `hakmem bench` that are no process: what it makes of numbers.
set(sources bench_statistics bench_text bench_result)
list(TRANSFORM sources PREPEND ${PROJECT_SOURCE_DIR}/cli/)
list(TRANSFORM sources APPEND .c)
hak_add_test_program(cli_bench_numbers ${CMAKE_CURRENT_SOURCE_DIR}/cli/test_bench_numbers.c ${sources})
target_include_directories(cli_bench_numbers PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/cli)
target_link_libraries(cli_bench_numbers PRIVATE hak_cmocka m)
hak_add_test(cli bench_numbers COMMAND $<TARGET_FILE:cli_bench_numbers>)

# The library with the fault that `hakmem stat` must show; only here, never installed.
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/api/*.c)
hak_flavour_objects(objects override WITHOUT api)
add_library(hakmem_misrouted SHARED ${sources} ${objects})
set_target_properties(hakmem_misrouted PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
target_compile_definitions(hakmem_misrouted PRIVATE
  HAK_OVERRIDE=1 HAK_MISROUTED_MIN=1016 HAK_MISROUTED_MAX=1024)
target_link_libraries(hakmem_misrouted PRIVATE hak_core)
target_link_options(hakmem_misrouted PRIVATE -Wl,-z,nodelete)
set_property(TEST cli.stat APPEND PROPERTY
  ENVIRONMENT "HAKTEST_MISROUTED=$<TARGET_FILE:hakmem_misrouted>")

# The command's own tests once more, with a command built under the sanitizers; the same programs run.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND HAKMEM_DEBUG EQUAL 0 AND NOT HAKMEM_CANARY)
  get_target_property(sources hakmem_cli SOURCES)
  add_executable(hakmem_cli_sanitized ${sources})
  set_target_properties(hakmem_cli_sanitized PROPERTIES
    OUTPUT_NAME hakmem-sanitized RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  foreach(property INCLUDE_DIRECTORIES COMPILE_DEFINITIONS)
    set_property(TARGET hakmem_cli_sanitized PROPERTY ${property}
      $<TARGET_PROPERTY:hakmem_cli,${property}>)
  endforeach()
  set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=undefined)
  target_compile_options(hakmem_cli_sanitized PRIVATE ${sanitize})
  target_link_options(hakmem_cli_sanitized PRIVATE ${sanitize})
  target_link_libraries(hakmem_cli_sanitized PRIVATE ${JANSSON} m)
  # Of `hakmem stat` what it reads and prints: under ptrace, or short of memory, no sanitizer works.
  set(parts_stat file forged text output encoding running processes signal started)
  # Of `hakmem bench` what does not ask how small it is itself.
  set(parts_bench order selection report csv crashing absent wrong command_fails outputs)
  foreach(name cli stat bench)
    hak_add_test(cli ${name}_sanitized TIMEOUT 900
      COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cli/test_${name}.py ${parts_${name}})
    # Some tests put a library before the command's, which the sanitizer would not have.
    set_property(TEST cli.${name}_sanitized PROPERTY ENVIRONMENT ${HAK_PRODUCTS}
      HAKTEST_CLI=${PROJECT_BINARY_DIR}/hakmem-sanitized
      "HAKTEST_MISROUTED=$<TARGET_FILE:hakmem_misrouted>"
      "ASAN_OPTIONS=verify_asan_link_order=0:abort_on_error=1")
  endforeach()
endif()
