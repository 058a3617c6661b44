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

# hsd_use_ze_driver(NAME...): tests for which the Level Zero loader finds the software driver of
# tests/level_zero, and nothing else. Its validation layer checks every call, and the driver ends
# the process when something is not destroyed.
function(hsd_use_ze_driver)
  if(NOT (HSD_ZE_DRIVER_FOUND AND HSD_LEVEL_ZERO_FOUND))
    return()
  endif()
  foreach(name ${ARGN})
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT
      "ZE_ENABLE_ALT_DRIVERS=$<TARGET_FILE:hsd_ze_driver>" ZE_ENABLE_VALIDATION_LAYER=1
      ZE_ENABLE_PARAMETER_VALIDATION=1 HSD_ZE_LEAKS=abort)
    if(TARGET test_${name})
      add_dependencies(test_${name} hsd_ze_driver)
    endif()
  endforeach()
endfunction()
