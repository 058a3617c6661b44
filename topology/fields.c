/// The tables of keys.
#include "topology/fields.h"

#include "topology/machine.h"
#include "topology/schema.h"
#include "topology/units.h"

#define AT(text, t, machine, m) offsetof(hsdi_text_##text, t), offsetof(hsdi_machine_##machine, m)
#define SIZE(machine, m) ((int)sizeof((hsdi_machine_##machine *)0)->m)
#define TEXT(o, key, t, m)                                                                         \
    {                                                                                              \
        key, HSDI_FIELD_TEXT, AT(o, t, o, m), SIZE(o, m), 0, false                                 \
    }
#define NAME(o, t, m)                                                                              \
    {                                                                                              \
#t, HSDI_FIELD_NAME, AT(o, t, o, m), SIZE(o, m), 0, true                                   \
    }
#define BYTES(o, t, m)                                                                             \
    {                                                                                              \
#t, HSDI_FIELD_BYTES, AT(o, t, o, m), HSDI_UNIT_BYTES, 0, false                            \
    }
#define QUANTITY(o, t, m, unit)                                                                    \
    {                                                                                              \
#t, HSDI_FIELD_QUANTITY, AT(o, t, o, m), HSDI_UNIT_##unit, 0, false                        \
    }
#define INT(o, t, m, otherwise)                                                                    \
    {                                                                                              \
#t, HSDI_FIELD_INT, AT(o, t, o, m), 0, otherwise, false                                    \
    }
#define INT_TO(o, t, m, max)                                                                       \
    {                                                                                              \
#t, HSDI_FIELD_INT, AT(o, t, o, m), max, -1, false                                         \
    }
#define INT_MUST(o, t, m)                                                                          \
    {                                                                                              \
#t, HSDI_FIELD_INT, AT(o, t, o, m), 0, 0, true                                             \
    }
#define BOOL(o, t, m)                                                                              \
    {                                                                                              \
#t, HSDI_FIELD_BOOL, AT(o, t, o, m), 0, 0, false                                           \
    }
#define DEVICE(o, t, m, must)                                                                      \
    {                                                                                              \
#t, HSDI_FIELD_DEVICE, AT(o, t, o, m), 0, -1, must                                         \
    }
#define HOST(o, t, m)                                                                              \
    {                                                                                              \
#t, HSDI_FIELD_HOST, AT(o, t, o, m), 0, -1, true                                           \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, HSDI_FIELD_TEXT, 0, 0, 0, 0, false                                                   \
    }

const hsdi_field hsdi_fields_host[] = {NAME(host, name, name),
                                       BOOL(host, here, is_here),
                                       INT(host, packages, n_packages, 0),
                                       INT(host, cores, n_cores, 0),
                                       INT(host, cpus, n_cpus, 0),
                                       BYTES(host, memory, memory_bytes),
                                       BYTES(host, memory_limit, memory_limit_bytes),
                                       END};
const hsdi_field hsdi_fields_cache[] = {
    INT_MUST(cache, level, level),
    INT_MUST(cache, count, n),
    INT(cache, cores, n_cores, 0),
    {"size", HSDI_FIELD_BYTES, AT(cache, size, cache, size_bytes), HSDI_UNIT_BYTES, 0, true},
    END};
const hsdi_field hsdi_fields_numa[] = {BYTES(numa, memory, memory_bytes),
                                       TEXT(numa, "cpus", cpus, cpus), END};
const hsdi_field hsdi_fields_port[] = {
    {"name", HSDI_FIELD_TEXT, AT(port, name, port, name), SIZE(port, name), 0, true},
    INT_MUST(port, type, type),
    QUANTITY(port, rate, gbps, RATE),
    TEXT(port, "pci", pci, pci),
    INT(port, numa, i_numa, -1),
    END};
const hsdi_field hsdi_fields_device[] = {NAME(device, name, name),
                                         INT_MUST(device, type, type),
                                         HOST(device, host, i_host),
                                         TEXT(device, "id", id, id),
                                         INT(device, numa, i_numa, -1),
                                         INT(device, units, n_units, 0),
                                         BYTES(device, memory, memory_bytes),
                                         BYTES(device, memory_limit, memory_limit_bytes),
                                         QUANTITY(device, read, read_gbps, RATE),
                                         QUANTITY(device, f32, f32_gops, OPERATIONS),
                                         QUANTITY(device, f16, f16_gops, OPERATIONS),
                                         QUANTITY(device, int8, int8_gops, OPERATIONS),
                                         QUANTITY(device, launch, launch_ns, TIME),
                                         QUANTITY(device, idle, idle_w, POWER),
                                         QUANTITY(device, busy, busy_w, POWER),
                                         TEXT(device, "model", model, model),
                                         TEXT(device, "driver", driver, driver),
                                         TEXT(device, "pci", pci, pci),
                                         TEXT(device, "uuid", uuid, uuid),
                                         TEXT(device, "unusable", unusable, unusable),
                                         BOOL(device, forbidden, is_forbidden),
                                         END};
const hsdi_field hsdi_fields_link[] = {QUANTITY(link, latency, latency_ns, TIME),
                                       QUANTITY(link, rate, gbps, RATE), END};
const hsdi_field hsdi_fields_worker[] = {
    NAME(worker, name, name),
    DEVICE(worker, device, i_device, true),
    {"draft", HSDI_FIELD_INT, AT(worker, draft, worker, i_draft_kind), 0, HSD_DRAFT_MODEL, false},
    {"endpoint", HSDI_FIELD_TEXT, AT(worker, endpoint, worker, endpoint), SIZE(worker, endpoint), 0,
     true},
    TEXT(worker, "listen", listen, listen),
    TEXT(worker, "key", key, key_file),
    TEXT(worker, "public_key", public_key, pub_file),
    END};
const hsdi_field hsdi_fields_choices[] = {INT(choices, mode, mode, HSD_MODE_AUTO),
                                          DEVICE(choices, target, i_target, false),
                                          DEVICE(choices, suffix, i_suffix, false),
                                          DEVICE(choices, draft, i_draft, false),
                                          INT(choices, target_threads, n_target_threads, -1),
                                          INT(choices, draft_threads, n_draft_threads, -1),
                                          INT(choices, exit_layer, exit_layer, -1),
                                          INT(choices, split_layer, split_layer, -1),
                                          INT_TO(choices, window, window, 16),
                                          INT_TO(choices, tree, tree, 32),
                                          INT_TO(choices, roots, roots, 64),
                                          INT_TO(choices, workers, n_workers, HSDI_MACHINE_WORKERS),
                                          QUANTITY(choices, power, power_w, POWER),
                                          BYTES(choices, cache_memory, cache_memory_bytes),
                                          TEXT(choices, "key", key, client_key_file),
                                          END};
