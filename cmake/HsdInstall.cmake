# What `cmake --install` puts where: library, headers, program, models, and the files by which
# CMake and pkg-config find them. The package files do not depend on how libhsd was put together.
if(NOT TARGET hsd)
  return()
endif()
include(CMakePackageConfigHelpers)

get_target_property(hsd_library_type hsd TYPE)
set(HSD_STATIC 0)
set(HSD_STATIC_PACKAGES "hwloc libcyaml yaml-0.1 libzmq libpcre2-8 zlib") # what a static libhsd.a needs besides libc
if(HSD_OPENVINO_FOUND)
  string(APPEND HSD_STATIC_PACKAGES " mxml")
endif()
set(HSD_PC_LINK_LIBS "")
set(HSD_PC_REQUIRES "")
if(hsd_library_type STREQUAL SHARED_LIBRARY)
  set_target_properties(hsd PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
else()
  set(HSD_STATIC 1)
  set(HSD_PC_LINK_LIBS "-pthread -lm -ldl")
  set(HSD_PC_REQUIRES ${HSD_STATIC_PACKAGES})
endif()
file(RELATIVE_PATH hsd_bin_to_lib ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH HSD_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
set_target_properties(hsd_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${hsd_bin_to_lib}")

install(TARGETS hsd LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS hsd_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/hsd DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/hsd/models
        FILES_MATCHING PATTERN "*.gguf" PATTERN "*.bin" PATTERN "README.md")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md
        DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(hsd_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hsd)
set(HSD_LIBRARY_FILE ${CMAKE_INSTALL_LIBDIR}/$<TARGET_FILE_NAME:hsd>)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/hsd-config.cmake.in
  ${PROJECT_BINARY_DIR}/hsd-config.cmake.gen INSTALL_DESTINATION ${hsd_package_dir}
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/hsd-config.cmake
     INPUT ${PROJECT_BINARY_DIR}/hsd-config.cmake.gen)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hsd-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
configure_file(${CMAKE_CURRENT_LIST_DIR}/hsd.pc.in ${PROJECT_BINARY_DIR}/hsd.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hsd-config.cmake ${PROJECT_BINARY_DIR}/hsd-config-version.cmake
        DESTINATION ${hsd_package_dir})
install(FILES ${PROJECT_BINARY_DIR}/hsd.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
