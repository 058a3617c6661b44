/// Machines as description files, docs/topology.md: YAML to a machine and back.
#ifndef HSDI_TOPOLOGY_DESCRIBE_H
#define HSDI_TOPOLOGY_DESCRIBE_H

#include <topology/machine.h>

/// Version of the format, the value of the key `topology`.
enum { HSDI_DESCRIPTION_VERSION = 1 };

/// A machine from the text of a file. `file` names it in messages. A machine that is read passes
/// hsdi_machine_check.
///
/// Errors : HSD_EFORMAT with line, column, the file in `where` and "FIELD: sentence"; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_describe_parse(const char *text, size_t n_bytes, const char *file,
                                             hsdi_machine *out, hsd_error *err);

/// The same from a file; HSD_EIO where it cannot be read.
HSD_NODISCARD hsd_status hsdi_describe_read(const char *path, hsdi_machine *out, hsd_error *err);

/// A machine as text that hsdi_describe_parse makes the same machine of.
///
/// Errors : HSD_EINVAL for a machine that hsdi_machine_check refuses; HSD_ENOMEM.
/// Owner  : *text is the caller's (free), NUL-terminated.
HSD_NODISCARD hsd_status hsdi_describe_print(const hsdi_machine *machine, char **text,
                                             hsd_error *err);

#endif
