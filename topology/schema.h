/// What a description file looks like to libcyaml: structs of texts, and the schema.
///
/// A NULL pointer is a key that is absent. Quantities are texts here; describe.c and
/// describe_print.c convert them.
#ifndef HSDI_TOPOLOGY_SCHEMA_H
#define HSDI_TOPOLOGY_SCHEMA_H

#include <cyaml/cyaml.h>
#include <stdbool.h>

typedef struct hsdi_text_cache {
    int *level, *count, *cores;
    char *size;
} hsdi_text_cache;

typedef struct hsdi_text_numa {
    char *memory, *cpus;
} hsdi_text_numa;

typedef struct hsdi_text_port {
    char *name, *pci, *rate;
    int *type, *numa;
} hsdi_text_port;

typedef struct hsdi_text_host {
    char *name, *memory, *memory_limit;
    bool *here;
    int *packages, *cores, *cpus;
    hsdi_text_numa *numa;
    hsdi_text_cache *caches;
    hsdi_text_port *ports;
    unsigned n_numa, n_caches, n_ports;
} hsdi_text_host;

typedef struct hsdi_text_device {
    char *name, *host, *id, *same_as, *model, *driver, *pci, *uuid, *unusable;
    int *type, *numa, *units;
    char *memory, *memory_limit, *read, *f32, *f16, *int8, *launch, *idle, *busy;
    bool *forbidden;
} hsdi_text_device;

typedef struct hsdi_text_link {
    char *from, *to, *latency, *rate;
} hsdi_text_link;

typedef struct hsdi_text_worker {
    char *name, *device, *endpoint, *listen, *key, *public_key;
    int *draft;
} hsdi_text_worker;

typedef struct hsdi_text_choices {
    int *mode, *forbidden_modes;
    char *target, *suffix, *draft, *power, *cache_memory, *key;
    int *target_threads, *draft_threads, *exit_layer, *split_layer, *window, *tree, *roots,
        *workers;
} hsdi_text_choices;

typedef struct hsdi_text_machine {
    int *version;
    char *name, *fingerprint;
    hsdi_text_host *hosts;
    hsdi_text_device *devices;
    hsdi_text_link *links;
    hsdi_text_worker *workers;
    hsdi_text_choices *choices;
    unsigned n_hosts, n_devices, n_links, n_workers;
} hsdi_text_machine;

/// Of a hsdi_text_machine.
extern const cyaml_schema_value_t hsdi_description_schema;

#endif
