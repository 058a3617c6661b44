/// Which member of a machine each key of a description file is: one table for reading and writing.
#ifndef HSDI_TOPOLOGY_FIELDS_H
#define HSDI_TOPOLOGY_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum hsdi_field_kind {
    HSDI_FIELD_TEXT,     ///< char * to char []; `detail`: its size
    HSDI_FIELD_NAME,     ///< the same for a name
    HSDI_FIELD_BYTES,    ///< "8 GiB" to int64_t
    HSDI_FIELD_QUANTITY, ///< "25 GB/s" to double; `detail`: hsdi_unit
    HSDI_FIELD_INT,      ///< int * to int or an enum; `detail`: largest, 0: any
    HSDI_FIELD_BOOL,
    HSDI_FIELD_DEVICE, ///< name to index
    HSDI_FIELD_HOST,   ///< name to index
} hsdi_field_kind;

/// Members lie at offsets of a struct of schema.h and of its brother in machine.h. A member that
/// has its `otherwise` is not written unless it must be.
typedef struct hsdi_field {
    const char *key; ///< NULL: the end of the table
    hsdi_field_kind kind;
    size_t text_at, machine_at;
    int detail;
    int otherwise; ///< of an int: what stands for an absent key
    bool must;
} hsdi_field;

extern const hsdi_field hsdi_fields_host[], hsdi_fields_cache[], hsdi_fields_numa[],
    hsdi_fields_port[], hsdi_fields_device[], hsdi_fields_link[], hsdi_fields_worker[],
    hsdi_fields_choices[];

#endif
