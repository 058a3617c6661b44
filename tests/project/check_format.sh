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

# InsertBraces serves newer versions in editors; version 14 does not know the key.
style=$(mktemp)
trap 'rm -f "$style"' EXIT
grep -v '^InsertBraces' "$root/.clang-format" >"$style"

cd "$root" || exit 1
find base kernels topology devices pipelines engine cli examples include tests \
    \( -name '*.c' -o -name '*.h' \) -print | sort >"$style.files"
echo "$(wc -l <"$style.files") files"
# shellcheck disable=SC2086 # mode is two words
xargs "$tool" --style="file:$style" $mode <"$style.files"
code=$?
rm -f "$style.files"
[ $code -eq 0 ] || echo "to fix it: sh tests/project/check_format.sh . --fix"
exit $code
