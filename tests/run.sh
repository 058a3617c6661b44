#!/bin/sh
# Install the packages that are missing (Debian), build, and run all tests.
#
#     sh tests/run.sh                        gcc, release
#     CC=clang PRESET=asan sh tests/run.sh   another compiler, another preset of CMakePresets.json
#
# Environment: CC, PRESET (release, debug, asan, tsan), BUILD_DIR, JOBS, CTEST_ARGS ("-R cli").
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cc=${CC:-gcc}
preset=${PRESET:-release}
build=${BUILD_DIR:-$root/build/$cc-$preset}
jobs=${JOBS:-$(nproc)}

packages="gcc g++ libc6-dev cmake ninja-build pkg-config libhwloc-dev libcyaml-dev libyaml-dev libzmq3-dev libpcre2-dev zlib1g-dev
libjansson-dev libmxml-dev libcmocka-dev opencl-headers ocl-icd-libopencl1
pocl-opencl-icd clang-15 llvm-spirv-15 libze-dev python3 valgrind"
case $cc in
clang*) packages="$packages clang llvm" ;;
esac
# shellcheck disable=SC2086 # a list
sh "$root/cmake/install_packages.sh" $packages

mkdir -p "$build"
log=$build/run.log
cd "$root"
if ! { cmake --preset "$preset" -B "$build" -DCMAKE_C_COMPILER="$cc" &&
    cmake --build "$build" --parallel "$jobs"; } >"$log" 2>&1; then
    tail -n 100 "$log"
    echo "tests/run.sh: the build with $cc ($preset) failed; whole log: $log"
    exit 1
fi

# Other drivers leak, and are built without sanitizers.
icd=/etc/OpenCL/vendors/pocl.icd
case $preset in
asan | tsan) [ -f "$icd" ] && export OCL_ICD_VENDORS="${OCL_ICD_VENDORS:-$icd}" ;;
esac
export ASAN_OPTIONS="${ASAN_OPTIONS:-abort_on_error=0:detect_stack_use_after_return=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=1:suppressions=$root/tests/tsan.supp}"
echo "tests/run.sh: $cc, $preset"
# shellcheck disable=SC2086 # CTEST_ARGS is a list
exec ctest --test-dir "$build" --output-on-failure --parallel "$jobs" ${CTEST_ARGS:-}
