#!/bin/sh
# Run every fuzzer SECONDS long, from its committed seeds: run.sh SECONDS BUILD_DIR [NAME...]
# New inputs and crashes stay in BUILD_DIR/fuzz; the committed corpus is only read.
set -u
if [ $# -lt 2 ]; then
    echo "usage: $0 SECONDS BUILD_DIR [NAME...]" >&2
    exit 2
fi
seconds=$1
build=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -eq 0 ]; then
    set -- $(ls "$here" | sed -n 's/^fuzz_\(.*\)\.c$/\1/p')
fi
failed=0
for name in "$@"; do
    found="$build/fuzz/found/$name"
    crashes="$build/fuzz/crashes/$name/"
    mkdir -p "$found" "$crashes"
    options="-max_total_time=$seconds -timeout=10 -rss_limit_mb=2048 -print_final_stats=1"
    if [ -f "$here/$name.dict" ]; then
        options="$options -dict=$here/$name.dict"
    fi
    echo "== fuzz_$name, $seconds seconds"
    if "$build/fuzz/fuzz_$name" $options -artifact_prefix="$crashes" "$found" \
        "$here/corpus/$name" >"$build/fuzz/$name.log" 2>&1; then
        grep -E '^stat::(number_of_executed_units|new_units_added|peak_rss_mb)' "$build/fuzz/$name.log"
    else
        echo "FAILED, see $build/fuzz/$name.log and $crashes"
        tail -n 30 "$build/fuzz/$name.log"
        failed=1
    fi
done
exit $failed
