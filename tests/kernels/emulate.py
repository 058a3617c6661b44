#!/usr/bin/env python3
"""Runs test programs on a processor that is not here: AVX-512 BF16 emulated by Bochs.

Boots Linux in Bochs from a CD image whose initial file system holds the programs, their shared
libraries and emulated_init.c, and reads the serial console. Ends with 0 if every program ended
with 0 and skipped nothing, 77 if something that is needed is missing, else 1.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# clearcpuid: 580 is FSRM and 600 AMX_TILE; Bochs 3.0 announces them without ERMS and XFD, which
# Linux takes to go with them. ACPI and five-level page tables meet in a mode Bochs cannot leave.
KERNEL_OPTIONS = ("console=ttyS0 clearcpuid=580,600 acpi=off no5lvl nokaslr mitigations=off "
                  "quiet panic=-1")

BOCHS_OPTIONS = """\
display_library: {display}
cpu: model=sapphire_rapids, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=512, host=512
romimage: file={bios}/BIOS-bochs-latest
vgaromimage: file={bios}/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={folder}/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={folder}/console
log: {folder}/log
panic: action=fatal
error: action=ignore
info: action=ignore
clock: sync=none
"""


class Missing(Exception):
    """Something that the emulation needs is not on this machine."""


def need(path, what):
    if not path or not os.path.exists(path):
        raise Missing(what)
    return path


def newest_kernel():
    return max(glob.glob("/boot/vmlinuz-*"), default=None, key=os.path.getmtime)


def check_bochs(bochs):
    """Bochs 2.8 is the first with the instructions, and with this model."""
    models = subprocess.run([bochs, "-help", "cpu"], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
    if "sapphire_rapids" not in models:
        raise Missing(f"{bochs} knows no model sapphire_rapids: Bochs 2.8 or later")


def cpio_entry(number, name, mode, data=b"", device=(0, 0)):
    """One file of an initial file system, format "newc"."""
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def libraries(program):
    """Paths of the shared libraries and of the loader, as the program names them."""
    out = subprocess.run(["ldd", program], text=True, stdout=subprocess.PIPE, check=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def file_system(init, programs, data):
    files = {"init": init}
    for path in data:
        files[path] = path
    for program in programs:
        files["programs/" + os.path.basename(program)] = program
        files.update((path.lstrip("/"), path) for path in libraries(program))
    folders = {"dev"}
    for name in files:
        while "/" in name:
            name = os.path.dirname(name)
            folders.add(name)
    entries = [(name, 0o40755) for name in sorted(folders)]
    archive = b"".join(cpio_entry(i + 1, *entry) for i, entry in enumerate(entries))
    archive += cpio_entry(1000, "dev/console", 0o20600, device=(5, 1))
    for i, (name, path) in enumerate(sorted(files.items())):
        with open(path, "rb") as f:
            archive += cpio_entry(2000 + i, name, 0o100755, f.read())
    return archive + cpio_entry(0, "TRAILER!!!", 0)


def make_image(arguments, folder):
    iso = os.path.join(folder, "iso")
    os.makedirs(os.path.join(iso, "isolinux"))
    init = os.path.join(folder, "init")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-static", "-o", init,
                    os.path.join(HERE, "emulated_init.c")], check=True)
    with open(os.path.join(iso, "initrd"), "wb") as f:
        f.write(file_system(init, arguments.program, arguments.data))
    shutil.copy(arguments.kernel, os.path.join(iso, "vmlinuz"))
    for part in ("ISOLINUX/isolinux.bin", "syslinux/modules/bios/ldlinux.c32"):
        path = os.path.join(arguments.syslinux, part)
        shutil.copy(need(path, f"{path}: package isolinux"), os.path.join(iso, "isolinux"))
    with open(os.path.join(iso, "isolinux", "isolinux.cfg"), "w", encoding="ascii") as f:
        options = " ".join([KERNEL_OPTIONS, *arguments.env])
        f.write("DEFAULT t\nPROMPT 0\nLABEL t\nKERNEL /vmlinuz\nINITRD /initrd\n"
                f"APPEND {options}\n")
    subprocess.run([need(shutil.which("genisoimage"), "genisoimage"), "-quiet", "-o",
                    os.path.join(folder, "boot.iso"), "-b", "isolinux/isolinux.bin", "-c",
                    "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4",
                    "-boot-info-table", iso], check=True)


def console_text(folder):
    path = os.path.join(folder, "console")
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read().replace("\r", "")


def run_machine(arguments, folder):
    """Until the last program has ended, the machine has, or the time is up. Its console."""
    options = os.path.join(folder, "bochsrc")
    with open(options, "w", encoding="utf-8") as f:
        f.write(BOCHS_OPTIONS.format(display=arguments.display, bios=arguments.bios,
                                     folder=folder))
    with open(os.path.join(folder, "output"), "wb") as output:
        bochs = subprocess.Popen([arguments.bochs, "-q", "-f", options],
                                 stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    end = time.monotonic() + arguments.seconds
    try:
        while time.monotonic() < end and bochs.poll() is None:
            time.sleep(1)
            if re.search("^emulated: end$|Kernel panic", console_text(folder), re.MULTILINE):
                break
    finally:
        bochs.kill()
        bochs.wait()
    return console_text(folder)


def judge(console, programs):
    """What is wrong with a console's text: a list of sentences."""
    wrong = []
    for program in programs:
        name = os.path.basename(program)
        if f"emulated: {name} ends with 0\n" not in console:
            wrong.append(f"{name} did not end with 0")
    if "SKIPPED" in console or "NOT RUN" in console:
        wrong.append("something was skipped")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="+", help="test programs to run, without arguments")
    parser.add_argument("--data", nargs="*", default=[],
                        help="files for them, relative to the working directory")
    parser.add_argument("--env", nargs="*", default=[], help="NAME=VALUE for them")
    parser.add_argument("--bochs", default=os.environ.get("BOCHS") or shutil.which("bochs"))
    parser.add_argument("--bios", default=os.environ.get("BXSHARE", "/usr/share/bochs"),
                        help="folder of the BIOS files of package bochsbios")
    parser.add_argument("--kernel", default=os.environ.get("BOCHS_KERNEL") or newest_kernel())
    parser.add_argument("--syslinux", default=os.environ.get("BOCHS_SYSLINUX", "/usr/lib"))
    parser.add_argument("--display", default=os.environ.get("BOCHS_DISPLAY", "nogui"))
    parser.add_argument("--seconds", type=int, default=1500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            check_bochs(need(arguments.bochs, "bochs"))
            need(os.path.join(arguments.bios, "BIOS-bochs-latest"), "package bochsbios")
            need(arguments.kernel, "a Linux kernel image")
            make_image(arguments, folder)
        except Missing as missing:
            print(f"skipped: needs {missing}")
            return 77
        started = time.monotonic()
        console = run_machine(arguments, folder)
        print(console)
        wrong = judge(console, arguments.program)
        if not console or wrong:
            with open(os.path.join(folder, "output"), encoding="utf-8", errors="replace") as f:
                print(f.read()[-2000:])
    for sentence in wrong:
        print("wrong:", sentence)
    print(f"{'failed' if wrong else 'passed'} after {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
