# cmake/install.cmake — what `cmake --install` puts where.
# SPDX-License-Identifier: MIT

install(TARGETS hakmem_shared hakmem_static hakmem_prefixed_shared hakmem_prefixed_static hakmem_cli
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${HAK_OVERRIDE_OBJECT} DESTINATION ${CMAKE_INSTALL_LIBDIR})
# Of what is within the command (cli/bench_assets.c).
install(FILES ${PROJECT_SOURCE_DIR}/third_party/uplot/LICENSE
  DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME LICENSE.uplot)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h"
  PATTERN "stat_format.h" EXCLUDE) # between library and tool, no interface
