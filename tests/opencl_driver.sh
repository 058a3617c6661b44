#!/bin/sh
# Run a test program on one OpenCL driver alone, and only its cases named like HSD_TEST_ONLY:
#
#     sh tests/opencl_driver.sh pocl|rusticl|oclgrind|intel PROGRAM
#
# On Oclgrind anything that it reports (a race, a bad address, memory read before it is written, a
# group that parts at a barrier) is a failure. Without the driver: exit code 77; with HSD_TEST_OPENCL=1 in the
# environment, 1. With HSD_TEST_FAULTY=1 it is the other way round: a fault must be reported.
set -u
driver=$1
shift
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

absent() {
    echo "skipped: $1"
    [ -n "${HSD_TEST_OPENCL:-}" ] && exit 1
    exit 77
}

# The loader reads the names of drivers from *.icd in a folder.
vendors=${OCL_ICD_VENDORS:-/etc/OpenCL/vendors}
unset OCL_ICD_FILENAMES
case $driver in
pocl | rusticl)
    for icd in "$vendors"/*.icd; do
        if grep -qi "$driver" "$icd" 2>/dev/null; then
            cp "$icd" "$work/"
        fi
    done
    ls "$work"/*.icd >/dev/null 2>&1 || absent "no driver $driver in $vendors"
    export RUSTICL_ENABLE=llvmpipe
    ;;
intel) # for processors, from PyPI (intel-opencl-rt, intel-cmplr-lib-rt): see .ci/run
    library=${HSD_INTEL_OPENCL:-}
    [ -f "$library" ] || absent "HSD_INTEL_OPENCL names no libintelocl.so"
    echo "$library" >"$work/intel.icd"
    ;;
oclgrind)
    program=$(command -v oclgrind) || absent "no program oclgrind"
    library=$(dirname "$(dirname "$program")")/lib/oclgrind/liboclgrind-rt-icd.so
    [ -f "$library" ] || absent "no $library"
    echo "$library" >"$work/oclgrind.icd"
    export OCLGRIND_DATA_RACES=1 OCLGRIND_UNINITIALIZED=1
    # Its check for uninitialised memory crashes on shuffles that the optimiser makes (21.10).
    export OCLGRIND_BUILD_OPTIONS=-cl-opt-disable HSD_TEST_ONE_THREAD=1
    ;;
*)
    echo "opencl_driver.sh: unknown driver $driver" >&2
    exit 2
    ;;
esac
export OCL_ICD_VENDORS="$work" HSD_TEST_OPENCL=1
if [ "$driver" != oclgrind ]; then
    "$@"
    exit
fi
"$@" >"$work/log" 2>&1
code=$?
cat "$work/log"
if grep -qE '^(Invalid (read|write)|Uninitialized|Work-group divergence)|data race' "$work/log"; then
    echo "opencl_driver.sh: Oclgrind reports a fault, see above"
    [ -n "${HSD_TEST_FAULTY:-}" ] && exit 0
    exit 1
fi
[ -n "${HSD_TEST_FAULTY:-}" ] && echo "opencl_driver.sh: Oclgrind saw no fault" && exit 1
exit $code
