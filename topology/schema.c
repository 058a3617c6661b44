/// The schema of description files. docs/topology.md explains every key.
#include "topology/schema.h"

#include "topology/machine.h"

// libcyaml wants pointers where a key may be absent.
#define TEXT(type, key, member)                                                                    \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER, type, member, 1, CYAML_UNLIMITED)
#define MAYBE_TEXT(type, key, member)                                                              \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 1,         \
                           CYAML_UNLIMITED)
#define NUMBER(type, key, member) CYAML_FIELD_INT_PTR(key, CYAML_FLAG_POINTER, type, member)
#define MAYBE_NUMBER(type, key, member)                                                            \
    CYAML_FIELD_INT_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member)
#define MAYBE_BOOL(type, key, member)                                                              \
    CYAML_FIELD_BOOL_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member)
#define NAMED(type, key, member, names)                                                            \
    CYAML_FIELD_ENUM_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_STRICT, type, member, names,         \
                         CYAML_ARRAY_LEN(names))
#define MAYBE_NAMED(type, key, member, names)                                                      \
    CYAML_FIELD_ENUM_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, type,  \
                         member, names, CYAML_ARRAY_LEN(names))
#define LIST(type, key, flags, member, count, entry, min, max)                                     \
    CYAML_FIELD_SEQUENCE_COUNT(key, CYAML_FLAG_POINTER | (flags), type, member, count, entry, min, \
                               max)

static const cyaml_strval_t device_types[] = {
    {"cpu", HSDI_DEVICE_CPU},     {"gpu", HSDI_DEVICE_GPU},
    {"npu", HSDI_DEVICE_NPU},     {"accelerator", HSDI_DEVICE_ACCELERATOR},
    {"other", HSDI_DEVICE_OTHER},
};
static const cyaml_strval_t port_types[] = {
    {"network", HSDI_PORT_NETWORK},
    {"storage", HSDI_PORT_STORAGE},
};
static const cyaml_strval_t modes[] = {
    {"auto", HSD_MODE_AUTO},     {"ar", HSD_MODE_AR},       {"serial", HSD_MODE_SERIAL},
    {"mirror", HSD_MODE_MIRROR}, {"async", HSD_MODE_ASYNC},
};
/// Bits of hsdi_machine_choices.forbidden_modes.
static const cyaml_strval_t mode_bits[] = {
    {"ar", 1 << HSD_MODE_AR},
    {"serial", 1 << HSD_MODE_SERIAL},
    {"mirror", 1 << HSD_MODE_MIRROR},
    {"async", 1 << HSD_MODE_ASYNC},
};
static const cyaml_strval_t drafts[] = {
    {"model", HSD_DRAFT_MODEL},
    {"ngram", HSD_DRAFT_NGRAM},
};

static const cyaml_schema_field_t cache_fields[] = {
    NUMBER(hsdi_text_cache, "level", level), NUMBER(hsdi_text_cache, "count", count),
    MAYBE_NUMBER(hsdi_text_cache, "cores", cores), TEXT(hsdi_text_cache, "size", size),
    CYAML_FIELD_END};
static const cyaml_schema_field_t numa_fields[] = {MAYBE_TEXT(hsdi_text_numa, "memory", memory),
                                                   MAYBE_TEXT(hsdi_text_numa, "cpus", cpus),
                                                   CYAML_FIELD_END};
static const cyaml_schema_field_t port_fields[] = {
    TEXT(hsdi_text_port, "name", name),         NAMED(hsdi_text_port, "type", type, port_types),
    MAYBE_TEXT(hsdi_text_port, "rate", rate),   MAYBE_TEXT(hsdi_text_port, "pci", pci),
    MAYBE_NUMBER(hsdi_text_port, "numa", numa), CYAML_FIELD_END};
static const cyaml_schema_value_t cache = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, hsdi_text_cache, cache_fields)};
static const cyaml_schema_value_t numa = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, hsdi_text_numa, numa_fields)};
static const cyaml_schema_value_t port = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, hsdi_text_port, port_fields)};

static const cyaml_schema_field_t host_fields[] = {
    TEXT(hsdi_text_host, "name", name),
    MAYBE_BOOL(hsdi_text_host, "here", here),
    MAYBE_NUMBER(hsdi_text_host, "packages", packages),
    MAYBE_NUMBER(hsdi_text_host, "cores", cores),
    MAYBE_NUMBER(hsdi_text_host, "cpus", cpus),
    MAYBE_TEXT(hsdi_text_host, "memory", memory),
    MAYBE_TEXT(hsdi_text_host, "memory_limit", memory_limit),
    LIST(hsdi_text_host, "caches", CYAML_FLAG_OPTIONAL, caches, n_caches, &cache, 0,
         HSDI_MACHINE_CACHES),
    LIST(hsdi_text_host, "numa", CYAML_FLAG_OPTIONAL, numa, n_numa, &numa, 1, HSDI_MACHINE_NUMA),
    LIST(hsdi_text_host, "ports", CYAML_FLAG_OPTIONAL, ports, n_ports, &port, 0,
         HSDI_MACHINE_PORTS),
    CYAML_FIELD_END};
static const cyaml_schema_field_t device_fields[] = {
    TEXT(hsdi_text_device, "name", name),
    NAMED(hsdi_text_device, "type", type, device_types),
    TEXT(hsdi_text_device, "host", host),
    MAYBE_TEXT(hsdi_text_device, "id", id),
    MAYBE_TEXT(hsdi_text_device, "same_as", same_as),
    MAYBE_NUMBER(hsdi_text_device, "numa", numa),
    MAYBE_NUMBER(hsdi_text_device, "units", units),
    MAYBE_TEXT(hsdi_text_device, "memory", memory),
    MAYBE_TEXT(hsdi_text_device, "memory_limit", memory_limit),
    MAYBE_TEXT(hsdi_text_device, "read", read),
    MAYBE_TEXT(hsdi_text_device, "f32", f32),
    MAYBE_TEXT(hsdi_text_device, "f16", f16),
    MAYBE_TEXT(hsdi_text_device, "int8", int8),
    MAYBE_TEXT(hsdi_text_device, "launch", launch),
    MAYBE_TEXT(hsdi_text_device, "idle", idle),
    MAYBE_TEXT(hsdi_text_device, "busy", busy),
    MAYBE_TEXT(hsdi_text_device, "model", model),
    MAYBE_TEXT(hsdi_text_device, "driver", driver),
    MAYBE_TEXT(hsdi_text_device, "pci", pci),
    MAYBE_TEXT(hsdi_text_device, "uuid", uuid),
    MAYBE_TEXT(hsdi_text_device, "unusable", unusable),
    MAYBE_BOOL(hsdi_text_device, "forbidden", forbidden),
    CYAML_FIELD_END};
static const cyaml_schema_field_t link_fields[] = {
    TEXT(hsdi_text_link, "from", from), TEXT(hsdi_text_link, "to", to),
    MAYBE_TEXT(hsdi_text_link, "latency", latency), MAYBE_TEXT(hsdi_text_link, "rate", rate),
    CYAML_FIELD_END};
static const cyaml_schema_field_t worker_fields[] = {
    TEXT(hsdi_text_worker, "name", name),
    TEXT(hsdi_text_worker, "device", device),
    MAYBE_NAMED(hsdi_text_worker, "draft", draft, drafts),
    TEXT(hsdi_text_worker, "endpoint", endpoint),
    MAYBE_TEXT(hsdi_text_worker, "listen", listen),
    MAYBE_TEXT(hsdi_text_worker, "key", key),
    MAYBE_TEXT(hsdi_text_worker, "public_key", public_key),
    CYAML_FIELD_END};
static const cyaml_schema_field_t choices_fields[] = {
    MAYBE_NAMED(hsdi_text_choices, "mode", mode, modes),
    CYAML_FIELD_FLAGS_PTR(
        "forbidden_modes",
        CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT | CYAML_FLAG_FLOW,
        hsdi_text_choices, forbidden_modes, mode_bits, CYAML_ARRAY_LEN(mode_bits)),
    MAYBE_TEXT(hsdi_text_choices, "target", target),
    MAYBE_TEXT(hsdi_text_choices, "suffix", suffix),
    MAYBE_TEXT(hsdi_text_choices, "draft", draft),
    MAYBE_NUMBER(hsdi_text_choices, "target_threads", target_threads),
    MAYBE_NUMBER(hsdi_text_choices, "draft_threads", draft_threads),
    MAYBE_NUMBER(hsdi_text_choices, "exit_layer", exit_layer),
    MAYBE_NUMBER(hsdi_text_choices, "split_layer", split_layer),
    MAYBE_NUMBER(hsdi_text_choices, "window", window),
    MAYBE_NUMBER(hsdi_text_choices, "tree", tree),
    MAYBE_NUMBER(hsdi_text_choices, "roots", roots),
    MAYBE_NUMBER(hsdi_text_choices, "workers", workers),
    MAYBE_TEXT(hsdi_text_choices, "power", power),
    MAYBE_TEXT(hsdi_text_choices, "cache_memory", cache_memory),
    MAYBE_TEXT(hsdi_text_choices, "key", key),
    CYAML_FIELD_END};
static const cyaml_schema_value_t host = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, hsdi_text_host, host_fields)};
static const cyaml_schema_value_t device = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, hsdi_text_device, device_fields)};
static const cyaml_schema_value_t link = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, hsdi_text_link, link_fields)};
static const cyaml_schema_value_t worker = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, hsdi_text_worker, worker_fields)};

static const cyaml_schema_field_t machine_fields[] = {
    NUMBER(hsdi_text_machine, "topology", version),
    MAYBE_TEXT(hsdi_text_machine, "name", name),
    MAYBE_TEXT(hsdi_text_machine, "fingerprint", fingerprint),
    LIST(hsdi_text_machine, "hosts", 0, hosts, n_hosts, &host, 1, HSDI_MACHINE_HOSTS),
    LIST(hsdi_text_machine, "devices", CYAML_FLAG_OPTIONAL, devices, n_devices, &device, 0,
         HSDI_MACHINE_DEVICES),
    LIST(hsdi_text_machine, "links", CYAML_FLAG_OPTIONAL, links, n_links, &link, 0,
         HSDI_MACHINE_LINKS),
    LIST(hsdi_text_machine, "workers", CYAML_FLAG_OPTIONAL, workers, n_workers, &worker, 0,
         HSDI_MACHINE_WORKERS),
    CYAML_FIELD_MAPPING_PTR("choices", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, hsdi_text_machine,
                            choices, choices_fields),
    CYAML_FIELD_END};

const cyaml_schema_value_t hsdi_description_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, hsdi_text_machine, machine_fields)};
