#!/bin/sh
# Proves: the C files of the project are formatted as .clang-format says.
# Does not prove: anything where clang-format 14 is absent (exit 77, skipped): other versions
#                 format some constructs differently.
#
#     check_format.sh ROOT          check
#     check_format.sh ROOT --fix    rewrite the files instead
root=${1:?usage: check_format.sh ROOT [--fix]}
mode="--dry-run -Werror"
[ "${2:-}" = --fix ] && mode=-i

for tool in clang-format-14 clang-format; do
    if "$tool" --version 2>/dev/null | grep -q 'version 14\.'; then
        break
    fi
    tool=
done
if [ -z "$tool" ]; then
    echo "skipped: clang-format 14 is not installed"
    exit 77
fi

files=$(mktemp)
trap 'rm -f "$files"' EXIT
cd "$root" || exit 1
find base kernels topology devices pipelines engine cli examples include tests \
    \( -name '*.c' -o -name '*.h' \) -print | sort >"$files"
echo "$(wc -l <"$files") files"
# shellcheck disable=SC2086 # mode is two words
xargs "$tool" --style=file $mode <"$files"
code=$?
[ $code -eq 0 ] || echo "to fix it: sh tests/project/check_format.sh . --fix"
exit $code
