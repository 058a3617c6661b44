# Flags that every hsd target shares, and the helpers that make one folder one object library.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

add_library(hsd_flags INTERFACE)
target_compile_options(hsd_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla
                       -Wstrict-prototypes -Wmissing-prototypes -Werror -ffp-contract=off)
target_compile_definitions(hsd_flags INTERFACE _GNU_SOURCE)
target_include_directories(hsd_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(hsd_flags INTERFACE Threads::Threads m ${CMAKE_DL_LIBS})
if(HSD_SANITIZE)
  target_compile_options(hsd_flags INTERFACE -fsanitize=${HSD_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all -g)
  target_link_options(hsd_flags INTERFACE -fsanitize=${HSD_SANITIZE})
endif()
if(HSD_FUZZ)
  target_compile_options(hsd_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# hsd_folder(NAME source...): the objects of one folder. They are joined into libhsd by engine/.
function(hsd_folder name)
  add_library(hsd_${name} OBJECT ${ARGN})
  target_link_libraries(hsd_${name} PUBLIC hsd_flags)
  set_property(GLOBAL APPEND PROPERTY HSD_FOLDERS hsd_${name})
endfunction()

# hsd_test(NAME SOURCES file... OBJECTS folder... [LIBS lib...]): one cmocka program, one ctest.
# OBJECTS names the folders whose objects are linked, for example base kernels.
function(hsd_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;OBJECTS;LIBS" ${ARGN})
  add_executable(test_${name} ${arg_SOURCES})
  target_link_libraries(test_${name} PRIVATE hsd_flags PkgConfig::CMOCKA ${arg_LIBS})
  foreach(folder ${arg_OBJECTS})
    target_link_libraries(test_${name} PRIVATE hsd_${folder})
    target_sources(test_${name} PRIVATE $<TARGET_OBJECTS:hsd_${folder}>)
  endforeach()
  add_test(NAME ${name} COMMAND test_${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 1800)
  endif()
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT})
endfunction()

# hsd_label(LABEL NAME...): so that a run can leave out (ctest -LE) what would prove nothing new in it.
#   once          it does not matter by which compiler, or how, hsd was built
#   driver        the same hsd code as elsewhere, below it another OpenCL driver or loader
#   one_thread    there is no second thread: nothing for a thread sanitizer
#   same_threads  its threads are those of devices, engine_modes and engine_sessions, doing the same
#   counts        instructions of loops, in release builds alone
#   statistics    frequencies over many seeds: nothing that a sanitizer would see first here
function(hsd_label label)
  set_property(TEST ${ARGN} APPEND PROPERTY LABELS ${label})
endfunction()

# hsd_cost(SECONDS NAME...): the dearest tests begin first, so that none runs alone at the end.
function(hsd_cost seconds)
  set_tests_properties(${ARGN} PROPERTIES COST ${seconds})
endfunction()

# hsd_test_of_hanging_devices(NAME...): tests in which memory is left to devices on purpose.
function(hsd_test_of_hanging_devices)
  set_property(TEST ${ARGN} APPEND PROPERTY ENVIRONMENT
    "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0")
endfunction()

# hsd_test_on_driver(NAME DRIVER [CASES]): a test once more on one OpenCL driver alone. Not with
# sanitizers: the drivers' own compilers and threads are built without them.
function(hsd_test_on_driver name driver)
  if(HSD_SANITIZE)
    return()
  endif()
  add_test(NAME ${name}_${driver} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
           COMMAND sh ${PROJECT_SOURCE_DIR}/tests/opencl_driver.sh ${driver}
                   $<TARGET_FILE:test_${name}>)
  set_tests_properties(${name}_${driver} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800)
  hsd_label(driver ${name}_${driver})
  if(ARGN)
    set_tests_properties(${name}_${driver} PROPERTIES ENVIRONMENT "HSD_TEST_ONLY=${ARGN}")
  endif()
endfunction()
