/// YAML files by libcyaml, with the place of every mistake.
///
/// libcyaml fills structs by a schema, but says neither the line of an unknown key nor where a
/// value stood once it is loaded. So a file is first read as a tree by libyaml (on which libcyaml
/// is built), the tree is compared with the same schema, and stays to look places up.
#ifndef HSDI_TOPOLOGY_YAML_H
#define HSDI_TOPOLOGY_YAML_H

#include <cyaml/cyaml.h>
#include <hsd/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

enum { HSDI_YAML_BYTES = 4 << 20 };

/// Zero-initialise before use.
typedef struct hsdi_yaml {
    yaml_document_t document;
    bool is_open;
    const char *file; ///< for messages; borrowed
} hsdi_yaml;

/// Read text as a tree, compare it with the schema, and load it.
///
/// Schemas : mappings, sequences, strings, enums, flags, INT (from 0 on), BOOL, FLOAT.
/// Errors  : HSD_EFORMAT with line, column, file in `where`, and "FIELD: sentence"; HSD_ENOMEM.
/// Owner   : *data is the caller's: hsdi_yaml_free; *out: hsdi_yaml_close, also after an error.
///           `text` is borrowed for the call, `file` until hsdi_yaml_close.
HSD_NODISCARD hsd_status hsdi_yaml_load(const char *text, size_t n_bytes, const char *file,
                                        const cyaml_schema_value_t *schema, hsdi_yaml *out,
                                        void **data, hsd_error *err);
void hsdi_yaml_free(const cyaml_schema_value_t *schema, void *data);
void hsdi_yaml_close(hsdi_yaml *yaml);

/// HSD_EFORMAT at a path, "devices[1].read", or at the deepest part of it that there is.
hsd_status hsdi_yaml_fail(const hsdi_yaml *yaml, const char *path, hsd_error *err, const char *fmt,
                          ...) __attribute__((format(printf, 4, 5)));

/// Data as text by the schema. Owner: *text is the caller's (free).
///
/// Errors : HSD_ENOMEM; HSD_EINVAL for data that YAML cannot hold.
HSD_NODISCARD hsd_status hsdi_yaml_save(const cyaml_schema_value_t *schema, void *data, char **text,
                                        size_t *n_bytes, hsd_error *err);

/// A whole file; *text is NUL-terminated and the caller's (free).
///
/// Errors : HSD_EIO with the file; HSD_EFORMAT where it is larger than HSDI_YAML_BYTES; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_yaml_read_file(const char *path, char **text, size_t *n_bytes,
                                             hsd_error *err);

#endif
