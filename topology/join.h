/// Devices of drivers on a machine that hwloc found.
#ifndef HSDI_TOPOLOGY_JOIN_H
#define HSDI_TOPOLOGY_JOIN_H

#include <topology/machine.h>

/// Put what hsd_device_list says on the machine's only host. A device whose PCI address hwloc knows
/// becomes that one; another driver's device of the same PCI address or UUID, or a CPU by a driver
/// of kernels, is the same as the first. "cpu" and sets of processors get rates.
///
/// Result : devices beyond HSDI_MACHINE_DEVICES are left out.
void hsdi_machine_join(hsdi_machine *machine, const hsd_device_info *devices, int n_devices);

/// Take rates that were measured: of `device` (its id counts) into the machine's.
void hsdi_machine_take_rates(hsdi_machine *machine, const hsd_device_info *device);

#endif
