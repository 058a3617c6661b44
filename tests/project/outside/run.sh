#!/bin/sh
# Proves: the installed tree is enough for another project, by its CMake package and by
#         pkg-config; both programs find and run the installed shipped pair; the installed `hsd`
#         starts; the tree still works after it was moved.
# Does not prove: packaging for any distribution.
#
#     run.sh BUILD_DIR CC [FLAGS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:?usage: run.sh BUILD_DIR CC [FLAGS]}
cc=$2
flags=${3:-}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cmake --install "$build" --prefix "$tmp/first" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
mv "$tmp/first" "$tmp/moved"
prefix=$tmp/moved
HSD_MODELS=$prefix/share/hsd/models
export HSD_MODELS

echo "CMake package:"
cmake -S "$here" -B "$tmp/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_C_FLAGS="$flags" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
cmake --build "$tmp/cmake" >"$tmp/log" || { cat "$tmp/log"; exit 1; }
"$tmp/cmake/outside"

echo "pkg-config:"
pc=$(dirname "$(find "$prefix" -name hsd.pc)")
PKG_CONFIG_PATH=$pc
export PKG_CONFIG_PATH
# shellcheck disable=SC2046,SC2086 # lists of flags
"$cc" -std=c11 $flags "$here/main.c" -o "$tmp/outside" $(pkg-config --cflags --libs hsd)
LD_LIBRARY_PATH=$(pkg-config --variable=libdir hsd) "$tmp/outside"

echo "program:"
"$prefix/bin/hsd" --version
"$prefix/bin/hsd" run --prompt "Once upon a time" --tokens 8
