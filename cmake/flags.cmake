# cmake/flags.cmake — warnings and compile flags, as interface targets.
# SPDX-License-Identifier: MIT

find_package(Threads REQUIRED)

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)

# Warnings for everything we compile. Each warns in C; those that C++ has not are kept to C.
set(warnings
  -Wall -Wextra -Wshadow -Wconversion -Wundef -Wvla -Wcast-align -Wpointer-arith -Wwrite-strings
  -Wformat=2 -Wimplicit-fallthrough)
set(warnings_c -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND warnings -Wlogical-op -Wduplicated-cond -Wduplicated-branches)
elseif(CMAKE_C_COMPILER_ID MATCHES "Clang")
  # string-conversion: -Wconversion has it, and assert(!"why") means it.
  list(APPEND warnings -Wthread-safety -Wno-string-conversion)
endif()
if(HAKMEM_WERROR)
  list(APPEND warnings -Werror)
endif()
add_library(hak_warnings INTERFACE)
target_compile_options(hak_warnings INTERFACE ${warnings}
  "$<$<COMPILE_LANGUAGE:C>:${warnings_c}>"
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-sign-conversion>) # gcc's -Wconversion has it in C only

add_library(hak_sanitize INTERFACE)
if(HAKMEM_SANITIZE)
  set(sanitize -fsanitize=${HAKMEM_SANITIZE} -fno-omit-frame-pointer)
  if(HAKMEM_SANITIZE MATCHES "undefined")
    list(APPEND sanitize -fno-sanitize-recover=undefined)
  endif()
  if(HAKMEM_FUZZ) # what libFuzzer sees of a run
    list(APPEND sanitize -fsanitize=fuzzer-no-link)
  endif()
  target_compile_options(hak_sanitize INTERFACE ${sanitize})
  target_link_options(hak_sanitize INTERFACE ${sanitize})
endif()

# What every part of the library and every test that looks inside must agree on.
add_library(hak_configuration INTERFACE)
# _GNU_SOURCE with no value, so that a file may define it for itself as well.
target_compile_definitions(hak_configuration INTERFACE
  _GNU_SOURCE= HAK_DEBUG=${HAKMEM_DEBUG} HAK_CANARY=${HAKMEM_CANARY})
target_include_directories(hak_configuration INTERFACE
  ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(hak_configuration INTERFACE hak_sanitize)

# The library's own code. -fno-builtin: a compiler may otherwise turn malloc and memset into
# calloc, which is calloc's own body. -fexceptions: operator new throws through our frames.
add_library(hak_core INTERFACE)
target_compile_options(hak_core INTERFACE
  -fPIC -fvisibility=hidden -fno-builtin -ftls-model=initial-exec -fno-semantic-interposition
  -fexceptions)
target_link_libraries(hak_core INTERFACE hak_configuration hak_warnings)
# The library alone is counted, not its tests; by several threads at once.
if(HAKMEM_COVERAGE)
  target_compile_options(hak_core INTERFACE --coverage -fprofile-update=atomic -fprofile-abs-path)
endif()

# Debian's musl-gcc comes without the kernel's headers: lend it those, and nothing else, of glibc's.
if(HAKMEM_PORT)
  include(CheckIncludeFile)
  check_include_file(linux/futex.h HAK_HAS_KERNEL_HEADERS)
  if(NOT HAK_HAS_KERNEL_HEADERS)
    set(headers ${PROJECT_BINARY_DIR}/kernel-headers)
    file(MAKE_DIRECTORY ${headers})
    foreach(folder linux asm-generic ${CMAKE_SYSTEM_PROCESSOR}-linux-gnu/asm)
      get_filename_component(name ${folder} NAME)
      file(CREATE_LINK /usr/include/${folder} ${headers}/${name} SYMBOLIC)
    endforeach()
    target_include_directories(hak_configuration SYSTEM INTERFACE ${headers})
  endif()
endif()
