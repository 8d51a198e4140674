# test/port.cmake — the smoke program, which must work wherever we run: prefixed, and with our malloc.
# With glibc also promises, forks and threads, in programs that link our malloc.
# SPDX-License-Identifier: MIT

# hak_add_smoke(<name> <what to link...>)
function(hak_add_smoke name)
  hak_add_test_program(port_${name} ${CMAKE_CURRENT_SOURCE_DIR}/port/smoke.c)
  set_target_properties(port_${name} PROPERTIES OUTPUT_NAME smoke_${name})
  target_link_libraries(port_${name} PRIVATE ${ARGN})
  hak_add_test(port ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:port_${name}>)
endfunction()

hak_add_smoke(static hakmem_prefixed_static -static)
hak_add_smoke(override hakmem_shared)
if(HAK_FULL)
  hak_add_smoke(shared hakmem_prefixed_shared)
endif()

# hak_add_port_program(<name> <arguments> <sources...>); not those that exec themselves: they would exec qemu,
# nor those that count the process's threads and pages, which are qemu's as well.
function(hak_add_port_program name arguments)
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE sources)
  hak_add_test_program(port_${name} ${sources})
  target_compile_options(port_${name} PRIVATE -fno-builtin)
  target_include_directories(port_${name} PRIVATE ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(port_${name} PRIVATE -Wl,--no-as-needed hakmem_shared)
  hak_add_test(port ${name}
    COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:port_${name}> ${arguments})
endfunction()

if(HAKMEM_PORT AND NOT CMAKE_C_COMPILER MATCHES "musl")
  foreach(name aligned_family alignment introspection libc_aliases size_limits zero_size)
    hak_add_port_program(${name} "" promise/${name}.c)
  endforeach()
  hak_add_port_program(signal_storm "1500;4" promise/signal_storm.c)
  hak_add_port_program(exchange "400000" stress/exchange.c)
  hak_add_port_program(fork_storm "30;4" stress/fork_storm.c)
  file(GLOB shadow_sources RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS shadow/*.c)
  list(REMOVE_ITEM shadow_sources shadow/shadow.c) # first, as it names the program
  hak_add_port_program(shadow "-c;0;30000;1" shadow/shadow.c ${shadow_sources})
  hak_add_port_program(shadow_threads "-t;4;-c;0;20000;2" shadow/shadow.c ${shadow_sources})
  set_target_properties(port_shadow_threads PROPERTIES OUTPUT_NAME shadow_threads)
endif()
