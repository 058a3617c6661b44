#!/usr/bin/env python3
"""Proves: the table in docs/errors.md and HSD_STATUS_LIST in include/hsd/status.h are equal.

Does not prove: that a call returns the statuses that its comment promises.

    check_errors.py ROOT
"""
import re
import sys

ROW_C = re.compile(r'X\((\d+), (\w+), "([^"]+)"\)')
ROW_MD = re.compile(r"^\| (\d+) \| `HSD_(\w+)` \| ([^|]+) \|")


def main():
    root = sys.argv[1]
    with open(f"{root}/include/hsd/status.h", encoding="utf-8") as file:
        in_code = ROW_C.findall(file.read())
    with open(f"{root}/docs/errors.md", encoding="utf-8") as file:
        rows = [ROW_MD.match(line) for line in file]
    in_docs = [tuple(part.strip() for part in row.groups()) for row in rows if row]
    for code, docs in zip(in_code, in_docs):
        if code != docs:
            print(f"status.h has {code}\ndocs have     {docs}")
    print(f"{len(in_code)} in status.h, {len(in_docs)} in docs/errors.md")
    return 0 if in_code and in_code == in_docs else 1


if __name__ == "__main__":
    sys.exit(main())
