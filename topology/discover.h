/// What hwloc knows of a machine: packages, cores, caches, NUMA nodes, core sets, PCI devices,
/// ports.
#ifndef HSDI_TOPOLOGY_DISCOVER_H
#define HSDI_TOPOLOGY_DISCOVER_H

#include <topology/machine.h>

/// Where to look. Both NULL: this machine, as far as this process may use it.
typedef struct hsdi_machine_source {
    const char *xml_path;  ///< a recorded machine: a file that `lstopo --of xml` wrote
    const char *synthetic; ///< hwloc's short descriptions: "package:2 numa:4 core:8 pu:2"
} hsdi_machine_source;

/// One host, with these devices: the processors as a whole ("cpu0"); sets of them that share
/// something ("package0", "numa1", "l3-0", kinds of cores "pcores" and "ecores"), or two halves
/// where nothing is shared by fewer than all; and every GPU and accelerator on PCI, without an id
/// and unusable, until somebody knows its driver. Sets of one sort are left out where there are
/// more than 16. Rates are not known.
///
/// Result : machine->fingerprint is that of the processors and caches alone.
/// Errors : HSD_EDEVICE; HSD_EFORMAT for a record that is none; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_discover(const hsdi_machine_source *source, hsdi_machine *out,
                                       hsd_error *err);

/// That fingerprint of this machine; 0 where it cannot be looked at. Some milliseconds.
uint64_t hsdi_discover_fingerprint(void);

/// The network's or disk's transfers aside, what a machine is: `hash` goes on over every device's
/// id, units, model, driver, PCI address and UUID.
uint64_t hsdi_machine_fingerprint(const hsdi_machine *machine, uint64_t hash);

#endif
