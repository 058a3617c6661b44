# HSD_OPENCL_FOUND: the OpenCL device is built. Only headers are needed: the loader, libOpenCL.so.1, is
# opened at run time, so that the library starts where there is none.
set(HSD_OPENCL_FOUND OFF)
if(NOT HSD_OPENCL STREQUAL "OFF")
  find_path(HSD_OPENCL_INCLUDE CL/cl.h)
  mark_as_advanced(HSD_OPENCL_INCLUDE)
  if(HSD_OPENCL_INCLUDE)
    set(HSD_OPENCL_FOUND ON)
  elseif(NOT HSD_OPENCL STREQUAL "AUTO")
    message(FATAL_ERROR "HSD_OPENCL=${HSD_OPENCL}, but there is no CL/cl.h (package opencl-headers)")
  endif()
endif()
message(STATUS "OpenCL device: ${HSD_OPENCL_FOUND}")
