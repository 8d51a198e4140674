# cmake/layers.cmake — one object library per layer of src/LAYERS and flavour of the build.
# SPDX-License-Identifier: MIT

# src/LAYERS: `name — sentence` or `name | name — sentence` a line, bottom to top.
# Sets HAK_LAYERS and, for each layer, HAK_RANK_<layer>; siblings share a rank.
set(HAK_LAYERS "")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/LAYERS)
file(STRINGS ${PROJECT_SOURCE_DIR}/src/LAYERS lines REGEX "^[a-z]" ENCODING UTF-8)
set(rank 0)
foreach(line IN LISTS lines)
  if(NOT line MATCHES "^([a-z0-9_]+( *[|] *[a-z0-9_]+)*) +— ")
    message(FATAL_ERROR "src/LAYERS: not `name — sentence`: ${line}")
  endif()
  string(REGEX REPLACE " *[|] *" ";" siblings "${CMAKE_MATCH_1}")
  foreach(layer IN LISTS siblings)
    list(APPEND HAK_LAYERS ${layer})
    set(HAK_RANK_${layer} ${rank})
  endforeach()
  math(EXPR rank "${rank} + 1")
endforeach()

# hak_add_flavour(<flavour> <definitions...>): hak_<flavour>_<layer> for each layer with code.
function(hak_add_flavour flavour)
  foreach(layer IN LISTS HAK_LAYERS)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${layer}/*.c)
    if(sources)
      add_library(hak_${flavour}_${layer} OBJECT ${sources})
      target_compile_definitions(hak_${flavour}_${layer} PRIVATE ${ARGN})
      target_link_libraries(hak_${flavour}_${layer} PRIVATE hak_core)
    endif()
  endforeach()
endfunction()

# hak_flavour_objects(<variable> <flavour> [UP_TO <layer>] [WITHOUT <layer>]): the objects of a
# flavour; with UP_TO those of the named layer and of the layers below it, not of its siblings.
function(hak_flavour_objects variable flavour)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "UP_TO;WITHOUT" "")
  set(objects "")
  foreach(layer IN LISTS HAK_LAYERS)
    if(NOT TARGET hak_${flavour}_${layer} OR layer STREQUAL "${arg_WITHOUT}")
      continue()
    endif()
    if(arg_UP_TO AND NOT layer STREQUAL arg_UP_TO
       AND NOT HAK_RANK_${layer} LESS HAK_RANK_${arg_UP_TO})
      continue()
    endif()
    list(APPEND objects $<TARGET_OBJECTS:hak_${flavour}_${layer}>)
  endforeach()
  set(${variable} ${objects} PARENT_SCOPE)
endfunction()
