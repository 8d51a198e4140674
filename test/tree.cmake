# test/tree.cmake — tests of the source tree and of what the compiler makes of it.
# SPDX-License-Identifier: MIT

set(tools ${PROJECT_SOURCE_DIR}/tools)

hak_add_test(layers tree COMMAND ${Python3_EXECUTABLE} ${tools}/check_layers)
hak_add_test(layers self_test COMMAND ${Python3_EXECUTABLE} ${tools}/check_layers --self-test)
hak_add_test(layers options COMMAND ${Python3_EXECUTABLE} ${tools}/check_options)
set(mutants ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/mutants/mutants.py)
hak_add_test(mutants apply COMMAND ${mutants} --check)
hak_add_test(mutants self_test COMMAND ${mutants} --self-test)
hak_add_test(format tree COMMAND ${PROJECT_SOURCE_DIR}/dev format --check)

if(CMAKE_C_COMPILER_ID MATCHES "Clang" AND CMAKE_EXPORT_COMPILE_COMMANDS)
  hak_add_test(lint tree SERIAL TIMEOUT 900
    COMMAND ${PROJECT_SOURCE_DIR}/dev lint ${PROJECT_BINARY_DIR})
endif()

# The all-in-one file by one plain cc line, both ways, and the override object in a program.
set(cc ${CMAKE_C_COMPILER} -std=gnu17 -O2 -I${PROJECT_SOURCE_DIR}/include
  -I${PROJECT_SOURCE_DIR}/src -fno-builtin -c ${PROJECT_SOURCE_DIR}/src/hakmem.c -o)
hak_add_test(build all_in_one_override COMMAND ${cc} ${CMAKE_CURRENT_BINARY_DIR}/override.o)
hak_add_test(build all_in_one_prefixed
  COMMAND ${cc} ${CMAKE_CURRENT_BINARY_DIR}/prefixed.o -DHAK_OVERRIDE=0)
