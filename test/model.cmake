# test/model.cmake — the model of the remote-free protocol. It knows nothing of how the library is
# built, so it is made and run once, with the release.
# SPDX-License-Identifier: MIT

if(NOT CMAKE_C_COMPILER_ID STREQUAL "GNU" OR HAKMEM_DEBUG GREATER 0 OR HAKMEM_CANARY)
  return()
endif()

file(GLOB sources CONFIGURE_DEPENDS model/*.c)
list(FILTER sources EXCLUDE REGEX "/model\\.c$") # first, it names the program
hak_add_test_program(model ${CMAKE_CURRENT_SOURCE_DIR}/model/model.c ${sources})
hak_add_test(model remote_free COMMAND model)
