# HSD_OPENVINO_FOUND: networks can be written as OpenVINO IR. That needs mxml for the XML; OpenVINO itself is
# needed by those who run them, and by the tests.
set(HSD_OPENVINO_FOUND OFF)
if(NOT HSD_OPENVINO STREQUAL "OFF")
  pkg_check_modules(MXML IMPORTED_TARGET GLOBAL "mxml >= 3.2")
  if(MXML_FOUND)
    set(HSD_OPENVINO_FOUND ON)
  elseif(NOT HSD_OPENVINO STREQUAL "AUTO")
    message(FATAL_ERROR "HSD_OPENVINO=${HSD_OPENVINO}, but there is no mxml 3 (package libmxml-dev)")
  endif()
endif()
message(STATUS "OpenVINO networks: ${HSD_OPENVINO_FOUND}")
