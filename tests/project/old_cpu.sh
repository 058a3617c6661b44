#!/bin/sh
# Proves: this build starts and runs the main job on an x86-64 processor without AVX (Nehalem,
#         emulated), and makes the same tokens there as this processor makes.
# Does not prove: anything about speed, or about processors other than x86-64.
#
#     old_cpu.sh HSD ROOT
set -eu
hsd=${1:?usage: old_cpu.sh HSD ROOT}
root=$2
qemu=$(command -v qemu-x86_64 || command -v qemu-x86_64-static || true)
if [ -z "$qemu" ]; then
    echo "skipped: qemu-x86_64 (package qemu-user) is not installed"
    exit 77
fi

run() {
    "$@" run --prompt "Once upon a time" --mode ar --tokens 8 --threads 1 --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["tokens"])'
}

"$qemu" -cpu Nehalem "$hsd" info "$root/models/hsd-story-draft.gguf"
old=$(run "$qemu" -cpu Nehalem "$hsd")
here=$(run "$hsd")
echo "old processor  $old"
echo "this processor $here"
[ "$old" = "$here" ] && [ "$old" != "[]" ]
