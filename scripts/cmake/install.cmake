# SPDX-License-Identifier: BSD-3-Clause
#
# What is installed: both libraries, the public headers, a CMake package and two pkg-config files.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/squall")
install(TARGETS squall_net squall_squall EXPORT squallTargets FILE_SET HEADERS)
install(EXPORT squallTargets NAMESPACE squall:: DESTINATION "${package_dir}")

configure_package_config_file(scripts/cmake/squallConfig.cmake.in "${PROJECT_BINARY_DIR}/squallConfig.cmake"
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/squallConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
# The find modules go along: the installed package looks for CAF and RE2 in the way that this build did.
install(FILES "${PROJECT_BINARY_DIR}/squallConfig.cmake" "${PROJECT_BINARY_DIR}/squallConfigVersion.cmake"
  scripts/cmake/FindCAF.cmake scripts/cmake/FindRE2.cmake DESTINATION "${package_dir}")

# pkg-config files find their prefix from their own place, so that cmake --install --prefix works.
file(RELATIVE_PATH prefix_from_pcfiledir "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
foreach(package IN ITEMS squall squall-net)
  configure_file(scripts/cmake/${package}.pc.in "${PROJECT_BINARY_DIR}/${package}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${package}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()
