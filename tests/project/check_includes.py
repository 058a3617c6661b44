#!/usr/bin/env python3
"""Who includes whom: the tier table of docs/architecture.md as a test.

Proves: every #include of the project's C files goes to the same or a lower tier.
        Third-party headers appear only in the folder that is their one place.
        With --self-test: each rule is broken once in a made-up tree, and each break is found.
Does not prove: that the names used behind an include are the right ones.

    check_includes.py ROOT        check a source tree
    check_includes.py --self-test check the checker
"""
import os
import re
import sys
import tempfile

# Project folders that a folder may include besides itself and <hsd/...> (decision 0001).
MAY_INCLUDE = {
    "include": [],
    "base": [],
    "kernels": ["base"],
    "topology": ["base"],
    "devices": ["base", "kernels"],
    "pipelines": ["base", "topology"],
    "engine": ["base", "kernels", "topology", "devices", "pipelines"],
    "cli": [],
    "examples": [],
    "tests": ["base", "kernels", "topology", "devices", "pipelines", "engine", "tests"],
}

# Third-party headers and the only folders for them; everywhere else they are an error.
ONLY_PLACE = [
    (r"zmq.*\.h", ["pipelines/transport", "tests"]),
    (r"hwloc(\.h|/.*)", ["topology", "tests"]),
    (r"(cyaml/.*|yaml\.h)", ["topology", "tests"]),
    (r"pcre2(posix)?\.h", ["engine", "tests"]),
    (r"zlib\.h", ["engine", "tests"]),
    (r"argp\.h", ["cli", "tests"]),
    (r"jansson\.h", ["cli", "tests"]),
    (r"CL/.*", ["devices/opencl", "tests"]),
    (r"level_zero/.*", ["devices/level_zero", "tests"]),
    (r"mxml\.h", ["devices/openvino", "tests"]),
    (r"cmocka\.h", ["tests"]),
    (r"(immintrin|cpuid|x86intrin)\.h", ["kernels", "tests"]),
]

# The C library of C17 and POSIX with the Linux additions in use: free for every tier.
LIBC = re.compile(
    r"(assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|"
    r"stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|"
    r"tgmath|threads|time|uchar|wchar|wctype|dirent|malloc|dlfcn|fcntl|poll|pthread|sched|semaphore|"
    r"spawn|unistd|getopt|netdb|arpa/inet|netinet/(in|tcp)|"
    r"sys/(auxv|eventfd|mman|prctl|random|resource|socket|stat|syscall|time|types|uio|un|utsname|wait)|"
    r"linux/(futex|perf_event))\.h")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<([^>]+)>|"([^"]+)"|(\w+))')
SUFFIXES = (".c", ".h", ".inc", ".cl", ".cpp", ".hpp")


def inside(path, folders):
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def check_project(folder, name):
    """The fault of including project file `name` from `folder`, or None."""
    to = name.split("/")[0]
    if folder in ("include", "examples") and to != folder:
        return f"{name}: {folder}/ may include <hsd/...> and the C library only"
    if to not in MAY_INCLUDE:
        return f"{name} is neither beside the file nor in a folder of the project"
    if to != folder and to not in MAY_INCLUDE[folder]:
        return f"{name}: {folder}/ may not include {to}/"
    return None


def check_system(path, folder, name):
    """The fault of `#include <name>` in file `path`, or None."""
    if name.startswith("hsd/"):
        return None
    if name.split("/")[0] in MAY_INCLUDE:
        return check_project(folder, name)
    for pattern, places in ONLY_PLACE:
        if re.fullmatch(pattern, name):
            if inside(path, places):
                return None
            return f"<{name}> is only for {' and '.join(p for p in places if p != 'tests')}"
    if LIBC.fullmatch(name):
        return None
    return f"<{name}> is not known; add it to the rules of tests/project/check_includes.py"


def check_quoted(root, path, folder, name):
    """The fault of `#include "name"` in file `path`, or None."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
    target = beside if os.path.isfile(os.path.join(root, beside)) else os.path.normpath(name)
    return check_project(folder, target)


def check_file(root, path):
    folder = path.split("/")[0]
    faults = []
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            system, quoted, macro = found.groups()
            if system:
                fault = check_system(path, folder, system)
            elif quoted:
                fault = check_quoted(root, path, folder, quoted)
            else:
                fault = f"#include {macro}: the checker cannot see through a macro"
            if fault:
                faults.append(f"{path}:{number}: {fault}")
    return faults


def check_tree(root):
    """All faults below `root` and the number of files read."""
    faults, n_files = [], 0
    for folder in MAY_INCLUDE:
        for where, folders, names in os.walk(os.path.join(root, folder)):
            folders.sort()
            for name in sorted(names):
                if name.endswith(SUFFIXES):
                    path = os.path.relpath(os.path.join(where, name), root)
                    faults += check_file(root, path)
                    n_files += 1
    return faults, n_files


GOOD = {
    "include/hsd/a.h": "#include <hsd/b.h>\n#include <stdint.h>\n",
    "base/a.h": "#include <pthread.h>\n",
    "base/a.c": '#include "base/a.h"\n#include <hsd/a.h>\n',
    "kernels/cpu/k.c": '#include "base/a.h"\n#include <immintrin.h>\n#include "k.h"\n',
    "kernels/cpu/k.h": "\n",
    "topology/t.c": "#include <hwloc.h>\n",
    "topology/t.h": "\n",
    "devices/opencl/c.c": "#  include <CL/cl.h>\n",
    "devices/d.h": "\n",
    "pipelines/transport/z.c": '#include "topology/t.h"\n#include <zmq.h>\n',
    "engine/e.c": '#include "devices/d.h"\n#include <pcre2.h>\n',
    "cli/c.h": "#include <argp.h>\n#include <jansson.h>\n#include <hsd/hsd.h>\n",
    "tests/t.c": '#include <cmocka.h>\n#include "engine/e.c"\n',
}

BAD = {
    "include/hsd/bad.h": '#include "base/a.h"\n',
    "base/bad.c": '#include "kernels/cpu/k.h"\n',
    "kernels/bad.c": '#include "devices/d.h"\n',
    "topology/bad.c": '#include "kernels/cpu/k.h"\n',
    "devices/bad.c": '#include "pipelines/transport/z.c"\n',
    "devices/cpu/bad.c": "#include <hwloc.h>\n",
    "devices/cpu/bad2.c": "#include <CL/cl.h>\n",
    "pipelines/bad.c": '#include "engine/e.c"\n',
    "pipelines/bad2.c": "#include <zmq.h>\n",
    "pipelines/bad3.c": '#include "devices/d.h"\n',
    "devices/opencl/bad.c": "#include <mxml.h>\n",
    "engine/bad.c": "#include <jansson.h>\n",
    "cli/bad.c": '#include "base/a.h"\n',
    "cli/bad2.c": "#include <pcre2.h>\n",
    "examples/bad.c": ' # include "cli/c.h"\n',
    "base/bad2.c": "#include <curl/curl.h>\n",
    "base/bad3.c": "#include HEADER\n",
    "base/bad4.c": '#include "../engine/e.c"\n',
    "kernels/bad2.c": "#include <engine/e.c>\n",
    "base/bad5.c": '#include "nowhere.h"\n',
}


def self_test():
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**GOOD, **BAD}.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        faults, _ = check_tree(root)
    blamed = [fault.split(":")[0] for fault in faults]
    missed = sorted(set(BAD) - set(blamed))
    wrong = sorted(set(blamed) & set(GOOD))
    for path in missed:
        print(f"not found: {path}: {BAD[path].strip()}")
    for path in wrong:
        print(f"wrongly blamed: {path}")
    print(f"self-test: {len(BAD)} broken rules, {len(BAD) - len(missed)} found")
    return 1 if missed or wrong else 0


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    if sys.argv[1] == "--self-test":
        return self_test()
    faults, n_files = check_tree(sys.argv[1])
    for fault in faults:
        print(fault)
    print(f"{n_files} files, {len(faults)} faults")
    return 1 if faults or n_files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
