# test/tree.cmake — tests of the source tree and of what the compiler makes of it.
# SPDX-License-Identifier: MIT

set(tools ${PROJECT_SOURCE_DIR}/tools)

hak_add_test(layers tree COMMAND ${Python3_EXECUTABLE} ${tools}/check_layers)
hak_add_test(layers self_test COMMAND ${Python3_EXECUTABLE} ${tools}/check_layers --self-test)
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

# Golden fast paths: of the build that ships, on the machine they are counted for.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND CMAKE_C_COMPILER_ID STREQUAL "GNU"
   AND CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo" AND HAKMEM_DEBUG EQUAL 0 AND HAKMEM_CANARY EQUAL 0)
  hak_add_test_program(step_path ${CMAKE_CURRENT_SOURCE_DIR}/golden/step_path.c)
  target_link_libraries(step_path PRIVATE ${CMAKE_DL_LIBS})
  set(counter ${Python3_EXECUTABLE} ${tools}/fast_path.py --build ${PROJECT_BINARY_DIR})
  hak_add_test(golden fast_path
    COMMAND ${counter} --check ${CMAKE_CURRENT_SOURCE_DIR}/golden/fast_path.x86_64.gcc.txt)
  hak_add_test(golden self_test COMMAND ${counter} --self-test)
endif()
