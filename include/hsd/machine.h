/// @file machine.h
/// Machines: hosts, devices, links, draft workers and choices, found here or described in a file.
///
///     hsd_machine_discover or hsd_machine_read -> hsd_machine_print, hsd_engine_options.machine,
///                                                 hsd_plan_make ... -> hsd_machine_free
///
/// The file format is docs/topology.md.
#ifndef HSD_MACHINE_H
#define HSD_MACHINE_H

#include <hsd/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Changed by hsd_machine_measure alone. Thread: any, but not beside that.
typedef struct hsd_machine hsd_machine;

typedef enum hsd_machine_format {
    HSD_MACHINE_TREE = 0, ///< for people
    HSD_MACHINE_YAML = 1, ///< what hsd_machine_read reads
    HSD_MACHINE_SVG = 2,  ///< a picture
    HSD_MACHINE_JSON = 3,
} hsd_machine_format;

/// The machine that this process runs on: processors, caches and memory by hwloc, devices by
/// their drivers, rates that hsd_device_measure has kept.
///
/// Errors : HSD_EDEVICE when the processors cannot be found out; HSD_ENOMEM. A driver that fails
///          is no error: its devices are missing.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_machine_discover(hsd_machine **out, hsd_error *err);

/// A machine from a description file, or from what `lstopo` of hwloc has recorded on another one
/// (a name that ends in ".xml"; such a machine has no drivers and no rates).
///
/// Errors : HSD_EIO; HSD_EFORMAT with the file in `where`, line, column, and "FIELD: why" as the
///          message; HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_machine_read(const char *path, hsd_machine **out,
                                                  hsd_error *err);

/// Measure the devices of this computer that have no rates yet, by hsd_device_measure: some seconds
/// each. What was measured is kept for later programs, until hardware or drivers change.
///
/// Errors : as of hsd_device_measure, with the device; those before it have their rates then.
HSD_API HSD_NODISCARD hsd_status hsd_machine_measure(hsd_machine *machine, hsd_error *err);

/// As text. *text is NUL-terminated, owned by the caller, freed by hsd_text_free.
///
/// Errors : HSD_EINVAL; HSD_ENOMEM.
HSD_API HSD_NODISCARD hsd_status hsd_machine_print(const hsd_machine *machine,
                                                   hsd_machine_format format, char **text,
                                                   hsd_error *err);

/// Sets *machine to NULL. NULL is allowed.
HSD_API void hsd_machine_free(hsd_machine **machine);

/// Free a text that a call gave. Sets *text to NULL. NULL is allowed.
HSD_API void hsd_text_free(char **text);

#ifdef __cplusplus
}
#endif
#endif
