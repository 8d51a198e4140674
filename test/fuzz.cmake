# test/fuzz.cmake — fuzz targets: with libFuzzer in the preset fuzz, else programs that replay the corpus.
# SPDX-License-Identifier: MIT
#
# The library is linked into one object whose variables get sections of their own, so that a target can put
# them back to what they were before the first call (fuzz/world.h).

set(fuzz_state ${CMAKE_CURRENT_BINARY_DIR}/fuzz_state.o)
hak_flavour_objects(objects prefixed WITHOUT prim)
add_custom_command(OUTPUT ${fuzz_state}
  COMMAND ${CMAKE_LINKER} -r -o ${fuzz_state} ${objects}
  COMMAND ${CMAKE_OBJCOPY} --rename-section .data=hak_state_data --rename-section .bss=hak_state_bss
          ${fuzz_state}
  DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM COMMENT "Linking fuzz_state.o")
add_library(hak_fuzz_world OBJECT fuzz/world.c)
target_compile_definitions(hak_fuzz_world PRIVATE HAK_OVERRIDE=0)
target_include_directories(hak_fuzz_world PRIVATE ${PROJECT_SOURCE_DIR}/test)
target_link_libraries(hak_fuzz_world PRIVATE hak_configuration hak_warnings)
# It copies what lies between the library's variables too, which the address sanitizer lets nobody touch.
set_source_files_properties(fuzz/world.c PROPERTIES COMPILE_OPTIONS -fno-sanitize=all)

# hak_add_fuzz_target(<name> <sources and objects...>): fuzz_<name>.c, and its corpus as a test.
function(hak_add_fuzz_target name)
  set(engine ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz_entry.c)
  if(NOT HAKMEM_FUZZ)
    list(APPEND engine ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/replay.c)
  endif()
  hak_add_test_program(fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz_${name}.c ${ARGN} ${engine})
  target_compile_definitions(fuzz_${name} PRIVATE HAK_OVERRIDE=0)
  target_include_directories(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/test ${PROJECT_SOURCE_DIR})
  target_link_libraries(fuzz_${name} PRIVATE hak_configuration)
  if(HAKMEM_FUZZ)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    # What the model compares says nothing of the library, and is most of what is compared.
    target_compile_options(fuzz_${name} PRIVATE -fno-sanitize-coverage=trace-cmp)
    set(arguments -runs=0)
  endif()
  hak_add_test(fuzz ${name} COMMAND $<TARGET_FILE:fuzz_${name}> ${arguments}
    ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
  set_property(TEST fuzz.${name} PROPERTY ENVIRONMENT ${HAK_SANITIZER_ENVIRONMENT})
endfunction()

set(inside ${fuzz_state} $<TARGET_OBJECTS:hak_fuzz_world> $<TARGET_OBJECTS:hak_fake_prim>)
hak_add_fuzz_target(calls ${inside})
hak_add_fuzz_target(spans ${inside})
hak_add_fuzz_target(options ${inside})

# The command's readers: of files that anybody may have written.
find_library(JANSSON jansson REQUIRED)
set(cli ${PROJECT_SOURCE_DIR}/cli)
hak_add_fuzz_target(stat ${cli}/stat_read.c ${cli}/stat_text.c ${cli}/stat_json.c ${cli}/json_text.c)
target_link_libraries(fuzz_stat PRIVATE ${JANSSON})
hak_add_fuzz_target(elf ${cli}/elf_probe.c)

if(HAK_FULL)
  hak_add_test(fuzz memcheck TIMEOUT 900
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/soak/memcheck.sh ${PROJECT_BINARY_DIR})
endif()
