/// What is plugged into a host, by hwloc. Only for discover.c.
#ifndef HSDI_TOPOLOGY_DISCOVER_IO_H
#define HSDI_TOPOLOGY_DISCOVER_IO_H

#include <hwloc.h>
#include <topology/machine.h>

/// Add ports of hosts[0], GPUs and accelerators on PCI, and the links of those to the host.
void hsdi_io_find(hwloc_topology_t topology, bool is_here, hsdi_machine *machine);

/// What the control group allows of `memory_bytes`; 0: all of it.
int64_t hsdi_io_memory_limit(int64_t memory_bytes);

#endif
