# test/stress.cmake — threads, forks and exchanged blocks: preloaded, or on the prefixed build under a
# sanitizer. Debug and sanitizer builds check more per call and make fewer calls.
# SPDX-License-Identifier: MIT

if(HAKMEM_SANITIZE OR HAKMEM_DEBUG GREATER 0)
  set(arguments_exchange 400000)
  set(arguments_thread_storm 1000 32 1 256)
  set(arguments_fork_storm 100)
  set(arguments_fork_exec 120)
  set(arguments_fork_in_flight 60)
endif()

if(HAK_FULL)
  return() # outside.cmake runs them preloaded
endif()

file(GLOB sources CONFIGURE_DEPENDS stress/*.c)
list(FILTER sources EXCLUDE REGEX "/fork_") # the sanitizers' runtimes do not survive such a fork
add_library(hak_prefixed_lookup OBJECT prefixed/prefixed_lookup.c)
target_link_libraries(hak_prefixed_lookup PRIVATE hak_configuration hak_warnings)
# The program finds hakmem_malloc where it looks for malloc.
function(hak_link_prefixed target)
  target_compile_definitions(${target} PRIVATE dlsym=prefixed_lookup)
  target_link_libraries(${target} PRIVATE hak_sanitize
    -Wl,--whole-archive hakmem_prefixed_static -Wl,--no-whole-archive -Wl,--export-dynamic)
endfunction()
foreach(source IN LISTS sources)
  get_filename_component(name ${source} NAME_WE)
  hak_add_test_program(stress_${name} ${source} $<TARGET_OBJECTS:hak_prefixed_lookup>)
  hak_link_prefixed(stress_${name})
  hak_add_test(stress ${name} TIMEOUT 900
    COMMAND ${launcher} $<TARGET_FILE:stress_${name}> ${arguments_${name}})
  hak_add_test(stress ${name}_observed TIMEOUT 900
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/observed.sh
      ${launcher} $<TARGET_FILE:stress_${name}> ${arguments_${name}})
  set_property(TEST stress.${name} stress.${name}_observed PROPERTY
    ENVIRONMENT ${HAK_SANITIZER_ENVIRONMENT})
endforeach()
