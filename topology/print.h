/// Machines for people and for other programs: a tree, a picture, JSON.
#ifndef HSDI_TOPOLOGY_PRINT_H
#define HSDI_TOPOLOGY_PRINT_H

#include <topology/machine.h>

/// Each makes one text. Errors: HSD_EINVAL for a machine that hsdi_machine_check refuses;
/// HSD_ENOMEM. Owner: *text is the caller's (free), NUL-terminated.
HSD_NODISCARD hsd_status hsdi_print_tree(const hsdi_machine *machine, char **text, hsd_error *err);
/// SVG 1.1, complete in itself.
HSD_NODISCARD hsd_status hsdi_print_picture(const hsdi_machine *machine, char **text,
                                            hsd_error *err);
/// Numbers in bytes, 1e9 bytes or operations per second, nanoseconds and watts; what is not known
/// is left out.
HSD_NODISCARD hsd_status hsdi_print_json(const hsdi_machine *machine, char **text, hsd_error *err);

/// The device in whose place i_device is shown: what it is the same as, or the whole CPU of whose
/// processors it is a set; itself where neither is.
int hsdi_print_shown_in(const hsdi_machine *machine, int i_device);

/// "mirror"; "auto" for a mode that is none.
const char *hsdi_print_mode(hsd_mode mode);

/// "cpu"
const char *hsdi_print_type(hsdi_device_type type);

#endif
