#!/bin/sh
# Proves: every header in include/hsd compiles alone, as C11 and as C++17, without a warning,
#         with each compiler that is present (gcc, clang).
# Does not prove: that other languages' bindings can be made from it.
#
#     check_headers.sh ROOT
root=${1:?usage: check_headers.sh ROOT}
warn="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
n=0
bad=0

# compile COMPILER LANGUAGE STANDARD HEADER
compile() {
    command -v "$1" >/dev/null 2>&1 || return 0
    n=$((n + 1))
    # Twice in one file: the guard is tested as well.
    if ! printf '#include "%s"\n#include "%s"\n' "$4" "$4" |
        "$1" -x "$2" "-std=$3" $warn -I "$root/include" -fsyntax-only -; then
        echo "FAILED: $4 with $1 as $3"
        bad=$((bad + 1))
    fi
}

for header in "$root"/include/hsd/*.h; do
    name=hsd/$(basename "$header")
    compile gcc c c11 "$name"
    compile clang c c11 "$name"
    compile g++ c++ c++17 "$name"
    compile clang++ c++ c++17 "$name"
done
echo "$n compilations, $bad failed"
[ "$n" -gt 0 ] && [ "$bad" -eq 0 ]
