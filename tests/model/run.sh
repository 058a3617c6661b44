#!/bin/sh
# Check exchange.pml exhaustively, and that it can fail: every mutant must have a counterexample.
#
#     sh tests/model/run.sh          all that README.md claims, with the bounds of the test
#     sh tests/model/run.sh --deep   two of the claims with larger bounds: minutes, 1 GB
#
# Exit code 77 without spin. Environment: CC (default cc).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
for tool in spin "${CC:-cc}"; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "run.sh: $tool is not installed (Debian: spin, gcc); skipped"
        exit 77
    fi
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cp "$here/exchange.pml" .
failed=0

# check NAME EXPECTED KIND BOUND...: EXPECTED is 'holds', or what pan says of the counterexample
check() {
    name=$1 expected=$2 kind=$3
    shift 3
    rm -f pan pan.* ./*.trail
    if ! spin -a "$@" exchange.pml >spin.log 2>&1; then
        cat spin.log
        exit 1
    fi
    case $kind in
    safety) flags="-O1 -DSAFETY -DNOCLAIM" args="" ;;
    small) flags="-O0 -DSAFETY -DNOCLAIM" args="" ;;
    liveness) flags="-O1 -DNFAIR=3" args="-a -f" ;;
    esac
    # shellcheck disable=SC2086 # lists
    ${CC:-cc} -w $flags -DCOLLAPSE -DMEMLIM=12000 -o pan pan.c
    # shellcheck disable=SC2086
    ./pan -m1000000 $args >pan.log 2>&1 || true
    if [ "$expected" = holds ]; then
        found=$(grep -E '^pan:|errors: [^0]|max search depth|out of memory' pan.log |
            grep -vE 'elapsed|rate' || true)
        grep -q 'errors: 0' pan.log || found="$found no result"
    else
        found="no counterexample"
        ! grep -q "$expected" pan.log || found=
    fi
    numbers=$(sed -n 's/.*depth reached \([0-9]*\).*/depth \1,/p; s/^ *\([0-9]*\) states, stored.*/\1 states,/p
        s/^ *\([0-9]*\)[0-9.]*.total actual.*/\1 MB,/p; s/.*elapsed time \([0-9.]*\) .*/\1 s/p' pan.log |
        tr '\n' ' ')
    if [ -z "$found" ]; then
        echo "ok     $name: $expected; $numbers($*)"
    else
        echo "FAILED $name: expected '$expected', $found; $numbers($*)"
        tail -n 40 pan.log
        failed=1
    fi
}

if [ "${1:-}" = --deep ]; then
    check "two workers, two generations" holds safety -DWORKERS=2 -DTOKENS=2 -DLENGTH=1 -DFAULTS=0 -DQUEUE=2
    check "traces and faults, two generations" holds safety -DTRACES=1 -DTOKENS=2 -DLENGTH=1 -DFAULTS=1 -DQUEUE=2
    check "a worker that lives is used again" holds safety -DGENERATIONS=1 -DTOKENS=9 -DLENGTH=1 -DQUEUE=3 \
        -DFAULTS=2 -DFAILURES=2 -DCALM=4 -DRETURN=2
    exit $failed
fi
check "two generations" holds safety -DTOKENS=2 -DFAULTS=1 -DQUEUE=2
check "late windows" holds safety -DGENERATIONS=1 -DTOKENS=3 -DFAULTS=1 -DQUEUE=2
check "two workers" holds safety -DGENERATIONS=1 -DWORKERS=2 -DTOKENS=2 -DLENGTH=1 -DFAULTS=1 -DQUEUE=2
check "passes that nobody is told of" holds safety -DGENERATIONS=1 -DTOKENS=4 -DLENGTH=1 -DFAULTS=1 -DQUEUE=2 \
    -DPAUSES=1
check "traces" holds safety -DTRACES=1 -DTOKENS=2 -DLENGTH=1 -DFAULTS=0 -DQUEUE=2
check "traces and faults" holds safety -DTRACES=1 -DGENERATIONS=1 -DTOKENS=2 -DLENGTH=1 -DFAULTS=1 -DQUEUE=2
check "a worker that lives is used again" holds safety -DGENERATIONS=1 -DTOKENS=7 -DLENGTH=1 -DQUEUE=3 \
    -DFAULTS=2 -DFAILURES=2 -DCALM=2 -DRETURN=2
check "the generation finishes" holds liveness -DGENERATIONS=1 -DCLOCK=1 -DTOKENS=2 -DLENGTH=1 -DFAULTS=1 \
    -DQUEUE=2

# Each line leaves out one check of the target or the worker.
window='assertion violated (peers.*offer_ghost==text)'
check "mutant: target without epochs" "$window" small -DWITHOUT=1 -DTOKENS=2 -DLENGTH=1 -DQUEUE=2
check "mutant: worker without epochs" 'assertion violated (f_text==w_text)' small -DWITHOUT=2 -DTOKENS=2 \
    -DLENGTH=1 -DQUEUE=2
check "mutant: worker without steps" 'assertion violated (f_text==w_text)' small -DWITHOUT=3 -DTOKENS=2 -DQUEUE=2
check "mutant: windows need not fit" "$window" small -DWITHOUT=4 -DTOKENS=3 -DQUEUE=2
check "mutant: no deadline" 'invalid end state' small -DWITHOUT=5 -DTOKENS=2 -DQUEUE=2
check "mutant: no deadline, a cycle" 'acceptance cycle' liveness -DWITHOUT=5 -DGENERATIONS=1 -DCLOCK=1 \
    -DTOKENS=2 -DLENGTH=1 -DFAULTS=1 -DQUEUE=2
check "mutant: no verification" 'assertion violated (text==truth)' small -DWITHOUT=6 -DTOKENS=2 -DQUEUE=2
check "mutant: restarts are failures" 'assertion violated (peers.*n_ghost>' small -DWITHOUT=7 -DGENERATIONS=1 \
    -DTOKENS=4 -DLENGTH=1 -DQUEUE=2 -DFAILURES=0
check "mutant: spans that were not asked for" 'assertion violated (f_step==spans_next)' small -DTRACES=1 -DWITHOUT=9 \
    -DTOKENS=2 -DLENGTH=1 -DFAULTS=0 -DQUEUE=2
check "mutant: spans of another epoch" 'assertion violated .*f_text==spans_next' small -DTRACES=1 -DWITHOUT=10 \
    -DTOKENS=2 -DLENGTH=1 -DQUEUE=2 -DFAULTS=1
check "mutant: a refused worker's window is kept" "$window" small -DWITHOUT=8 -DTOKENS=2 -DQUEUE=2 -DFAULTS=1
exit $failed
