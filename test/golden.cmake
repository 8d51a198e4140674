# test/golden.cmake — golden fast paths: of the builds that ship. SPDX-License-Identifier: MIT
#
# fast_path.py sees from the library which machine and compiler it is for. On another machine than this
# one the emulator does the stepping.

hak_add_test_program(warm_calls ${CMAKE_CURRENT_SOURCE_DIR}/golden/warm_calls.c)
target_link_libraries(warm_calls PRIVATE ${CMAKE_DL_LIBS})

set(counter ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/fast_path.py
  --build ${PROJECT_BINARY_DIR})
hak_add_test(golden fast_path COMMAND ${counter})
hak_add_test(golden self_test COMMAND ${counter} --self-test)
