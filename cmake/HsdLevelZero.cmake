# HSD_LEVEL_ZERO_FOUND: the Level Zero device is built. It needs headers and SPIR-V (HsdSpirv.cmake); the
# loader, libze_loader.so.1, is opened at run time, so that the library starts where there is none.
set(HSD_LEVEL_ZERO_FOUND OFF)
if(NOT HSD_LEVEL_ZERO STREQUAL "OFF")
  find_path(HSD_LEVEL_ZERO_INCLUDE level_zero/ze_api.h)
  mark_as_advanced(HSD_LEVEL_ZERO_INCLUDE)
  if(HSD_LEVEL_ZERO_INCLUDE AND HSD_SPIRV_FOUND)
    set(HSD_LEVEL_ZERO_FOUND ON)
  elseif(HSD_LEVEL_ZERO STREQUAL "ON")
    message(FATAL_ERROR "HSD_LEVEL_ZERO=ON, but there is no level_zero/ze_api.h (package libze-dev)")
  endif()
endif()
message(STATUS "Level Zero device: ${HSD_LEVEL_ZERO_FOUND}")
