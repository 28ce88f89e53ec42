# libvibee.so: app/capi and what it stands on, showing the functions of vibee.h alone. `cmake --install` puts it, its headers, a
# CMake package and a pkg-config file beside the binary; built by pip (pyproject.toml), it installs into the Python package.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(STRINGS ${CMAKE_SOURCE_DIR}/include/vibee/vibee.h abi REGEX "^#define VIBEE_ABI_VERSION")
string(REGEX MATCH "[0-9]+" abi "${abi}")

add_library(libvibee SHARED $<TARGET_OBJECTS:vibee_app_capi>)
target_link_libraries(libvibee PRIVATE vibee_app_jobs)
target_include_directories(libvibee INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_options(libvibee PRIVATE LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/exports.map)
set_target_properties(libvibee PROPERTIES OUTPUT_NAME vibee EXPORT_NAME vibee LINKER_LANGUAGE CXX LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/exports.map
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

if(SKBUILD)
  install(TARGETS libvibee LIBRARY DESTINATION vibee)
  return()
endif()

set_target_properties(libvibee PROPERTIES SOVERSION ${abi})
# The Python package as it is tried from the build: PYTHONPATH=build/release/python.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/python/vibee)
file(GLOB python CONFIGURE_DEPENDS python/vibee/*.py)
foreach(f ${python})
  get_filename_component(name ${f} NAME)
  file(CREATE_LINK ${f} ${CMAKE_BINARY_DIR}/python/vibee/${name} SYMBOLIC)
endforeach()
file(CREATE_LINK ${CMAKE_BINARY_DIR}/lib/libvibee.so ${CMAKE_BINARY_DIR}/python/vibee/libvibee.so SYMBOLIC)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/vibee)
configure_package_config_file(cmake/vibee-config.cmake.in ${CMAKE_BINARY_DIR}/vibee-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/vibee-config-version.cmake COMPATIBILITY SameMinorVersion)
file(RELATIVE_PATH to_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)  # wherever it is installed
configure_file(cmake/vibee.pc.in ${CMAKE_BINARY_DIR}/vibee.pc @ONLY)
install(TARGETS vibee)
install(TARGETS libvibee EXPORT vibee-targets)
install(DIRECTORY include/vibee TYPE INCLUDE)
install(EXPORT vibee-targets NAMESPACE vibee:: DESTINATION ${package})
install(FILES ${CMAKE_BINARY_DIR}/vibee-config.cmake ${CMAKE_BINARY_DIR}/vibee-config-version.cmake DESTINATION ${package})
install(FILES ${CMAKE_BINARY_DIR}/vibee.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
