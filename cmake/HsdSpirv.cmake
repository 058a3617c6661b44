# HSD_SPIRV_FOUND: there is a compiler from OpenCL C to SPIR-V (packages clang-15, llvm-spirv-15), for
# the Level Zero device and the driver of its tests. Without one the build goes on, unless
# HSD_LEVEL_ZERO=ON asks for it.
#
# hsd_spirv(OUT file...): a rule that joins OpenCL files into the SPIR-V module OUT.
set(HSD_SPIRV_FOUND OFF)
if(NOT HSD_LEVEL_ZERO STREQUAL "OFF")
  find_program(HSD_SPIRV_CLANG clang-15)
  find_program(HSD_SPIRV_TRANSLATOR llvm-spirv-15)
  mark_as_advanced(HSD_SPIRV_CLANG HSD_SPIRV_TRANSLATOR)
  if(HSD_SPIRV_CLANG AND HSD_SPIRV_TRANSLATOR)
    set(HSD_SPIRV_FOUND ON)
  elseif(HSD_LEVEL_ZERO STREQUAL "ON")
    message(FATAL_ERROR "HSD_LEVEL_ZERO=ON needs clang-15 and llvm-spirv-15 (packages of these names)")
  endif()
endif()
message(STATUS "SPIR-V from OpenCL C: ${HSD_SPIRV_FOUND}")

function(hsd_spirv out)
  # The macros that devices/opencl/context.c gives the compiler, from the same enums.
  set(header ${PROJECT_SOURCE_DIR}/kernels/opencl/source.h)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
  file(STRINGS ${header} lines REGEX "HSDI_(OPENCL|JOB)_[A-Z_]+ = [0-9]+")
  set(macros "")
  foreach(line ${lines})
    string(REGEX MATCH "HSDI_(OPENCL_)?([A-Z_]+) = ([0-9]+)" found "${line}")
    list(APPEND macros -D${CMAKE_MATCH_2}=${CMAKE_MATCH_3})
  endforeach()
  # All files but the last are included before it, so that messages name the file.
  set(files ${ARGN})
  list(POP_BACK files last)
  list(TRANSFORM files PREPEND "-include;" OUTPUT_VARIABLE before)
  # No pass of LLVM may run: the translator does not know all that they make.
  add_custom_command(OUTPUT ${out}
    COMMAND ${HSD_SPIRV_CLANG} -c -x cl -cl-std=CL1.2 -target spir64 -O2 -ffp-contract=off -Wall -Werror -Wno-unused
            -Xclang -disable-llvm-passes -Xclang -finclude-default-header -fdiscard-value-names
            ${macros} ${before} -emit-llvm ${last} -o ${out}.bc
    COMMAND ${HSD_SPIRV_TRANSLATOR} --spirv-max-version=1.2 ${out}.bc -o ${out}
    DEPENDS ${ARGN} ${header} COMMENT "OpenCL C to SPIR-V" VERBATIM)
endfunction()
