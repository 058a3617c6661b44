#!/usr/bin/env python3
"""Make fixtures/server.xml and fixtures/laptop.xml: machines as `lstopo --of xml` records them.

server: two packages, eight NUMA nodes with a third-level cache each, 48 cores of two hardware
        threads; a GPU with a link of 31.5 GB/s, a network card and a disk, on different nodes.
laptop: six fast cores of two threads and eight economical ones of one, a GPU without a driver and
        an NPU.
fixtures/vm.xml was recorded on a small virtual machine by `lstopo --of xml vm.xml`.
"""
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ET

HERE = pathlib.Path(__file__).resolve().parent / "fixtures"
NEXT = [1000]


def gp_index():
    NEXT[0] += 1
    return str(NEXT[0])


def bits(cpus):
    return f"0x{sum(1 << c for c in cpus):08x}"


def obj(parent, kind, cpus, nodes="0x00000001", **attributes):
    sets = {} if cpus is None else {"cpuset": bits(cpus), "complete_cpuset": bits(cpus),
                                    "nodeset": nodes, "complete_nodeset": nodes}
    return ET.SubElement(parent, "object", {"type": kind, **sets, "gp_index": gp_index(),
                                            **{k: str(v) for k, v in attributes.items()}})


def info(element, name, value):
    element.insert(0, ET.Element("info", {"name": name, "value": value}))


def bridge(parent, domain_and_buses, devices):
    """A host bridge; devices: (bus id, class, ids, link speed, [(os device, type)], names)."""
    b = obj(parent, "Bridge", None, bridge_type="0-1", depth="0", bridge_pci=domain_and_buses)
    for place, kind, ids, speed, names, said in devices:
        d = obj(b, "PCIDev", None, pci_busid=place, pci_type=f"{kind} [{ids}] [0000:0000] 00",
                pci_link_speed=f"{speed:.6f}")
        for name, value in said:
            info(d, name, value)
        for name, number in names:
            obj(d, "OSDev", None, name=name, osdev_type=number)


def save(root, name):
    ET.indent(root, " ")
    text = ET.tostring(root, encoding="unicode")
    (HERE / name).write_text('<?xml version="1.0" encoding="UTF-8"?>\n'
                             '<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n' + text + "\n")


def server():
    made = subprocess.run(["lstopo-no-graphics", "--input", "package:2 numa:4(memory=64GiB) "
                           "l3:1(size=32MiB) l2:6(size=512KiB) l1:1(size=32KiB) core:1 pu:2",
                           "--of", "xml"], check=True, capture_output=True, text=True).stdout
    root = ET.fromstring(made)
    machine = root.find("object")
    info(machine, "HostName", "server.example")
    packages = [o for o in machine.findall("object") if o.get("type") == "Package"]
    for package in packages:
        info(package, "CPUModel", "EPYC 7443 (made up)")
    groups = [o for p in packages for o in p.findall("object")]
    bridge(groups[5], "0000:[80-8f]", [("0000:81:00.0", "0302", "10de:20b5", 31.5, [],
                                        [("PCIDevice", "A100"), ("PCIVendor", "NVIDIA")])])
    bridge(groups[2], "0000:[20-2f]", [("0000:21:00.0", "0200", "15b3:1017", 7.9,
                                        [("eth0", 2), ("mlx5_0", 3)], []),
                                       ("0000:22:00.0", "0108", "144d:a80a", 7.9,
                                        [("nvme0n1", 0)], [])])
    save(root, "server.xml")


def laptop():
    root = ET.Element("topology", {"version": "2.0"})
    all_cpus = list(range(20))
    machine = obj(root, "Machine", all_cpus, os_index="0", allowed_cpuset=bits(all_cpus),
                  allowed_nodeset="0x00000001")
    info(machine, "HostName", "laptop")
    package = obj(machine, "Package", all_cpus, os_index="0")
    obj(package, "NUMANode", all_cpus, os_index="0", local_memory=32 << 30)
    info(package, "CPUModel", "Core Ultra (made up)")
    shared = obj(package, "L3Cache", all_cpus, cache_size=24 << 20, depth="3", cache_linesize="64",
                 cache_associativity="12", cache_type="0")
    cores = [[2 * i, 2 * i + 1] for i in range(6)] + [[12 + i] for i in range(8)]
    for i, cpus in enumerate(cores):
        core = obj(shared, "Core", cpus, os_index=str(i))
        for cpu in cpus:
            obj(core, "PU", [cpu], os_index=str(cpu))
    bridge(machine, "0000:[00-ff]",
           [("0000:00:02.0", "0300", "8086:7d55", 0.0, [], [("PCIDevice", "Arc Graphics")]),
            ("0000:00:0b.0", "1200", "8086:7d1d", 0.0, [], [("PCIDevice", "AI Boost")]),
            ("0000:00:14.3", "0280", "8086:7e40", 0.0, [("wlan0", 2)], [])])
    for efficiency, cpus in enumerate([all_cpus[12:], all_cpus[:12]]):
        ET.SubElement(root, "cpukind", {"cpuset": bits(cpus),
                                        "forced_efficiency": str(efficiency)})
    save(root, "laptop.xml")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    server()
    laptop()
