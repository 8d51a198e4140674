# test/port.cmake — the smoke program, which must work wherever we run: prefixed, and with our malloc.
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
