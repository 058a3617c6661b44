#!/bin/sh
# From a bare Debian 12 to text: install the packages that are missing, build, and continue a
# prompt with the shipped model pair, target and draft working at the same time.
#
#     sh examples/quickstart.sh "Once upon a time"
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
prompt=${*:-Once upon a time}
build=$root/build/quickstart
log=$root/build/quickstart.log

say() {
    echo "quickstart: $*" >&2
}

# quiet COMMAND...: show its output only when it fails
quiet() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        say "failed: $*"
        exit 1
    }
}

say "1/3 packages"
sh "$root/cmake/install_packages.sh" gcc libc6-dev cmake ninja-build pkg-config libhwloc-dev libcyaml-dev libyaml-dev \
    libzmq3-dev libpcre2-dev zlib1g-dev libjansson-dev

say "2/3 build in build/quickstart"
mkdir -p "$root/build"
if [ ! -f "$build/build.ninja" ]; then
    quiet cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DHSD_TESTS=OFF
fi
quiet cmake --build "$build"

say "3/3 hsd run --mode mirror --prompt \"$prompt\""
printf '%s' "$prompt"
exec "$build/cli/hsd" run --mode mirror --prompt "$prompt"
