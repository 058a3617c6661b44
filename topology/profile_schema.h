/// What profile.yaml looks like to libcyaml: structs as it fills them in, and the schema.
#ifndef HSDI_TOPOLOGY_PROFILE_SCHEMA_H
#define HSDI_TOPOLOGY_PROFILE_SCHEMA_H

#include <cyaml/cyaml.h>
#include <topology/profile.h>

enum { HSDI_PROFILE_VERSION = 1 };

typedef struct hsdi_file_device {
    char *name, *id, *failure;
    double to_latency_ns, to_gbps, from_latency_ns, from_gbps;
} hsdi_file_device;

typedef struct hsdi_file_pass {
    hsdi_cost_role role;
    hsdi_profile_part part;
    char *device;
    int threads, layers, rows, past, times;
    double median_ns, low_ns, high_ns, mean_ns;
} hsdi_file_pass;

typedef struct hsdi_file_table {
    hsdi_cost_role role;
    char *device;
    int threads, past;
    bool measured;
    double fixed_ns, layer_ns[HSDI_COST_ROWS], head_ns[HSDI_COST_ROWS];
} hsdi_file_table;

typedef struct hsdi_file_slowdown {
    hsdi_cost_role role;
    char *device, *beside;
    int threads, beside_threads;
    double factor, low, high;
} hsdi_file_slowdown;

typedef struct hsdi_file_turn {
    char *target, *draft;
    int target_threads, draft_threads;
    double step_ns, call_ns;
} hsdi_file_turn;

typedef struct hsdi_file_model {
    char *fingerprint;
    int layers, embd, vocab, ctx, heads, kv_heads, d_head;
    bool rotary;
    int64_t layer_bytes, head_bytes, embedding_bytes, cache_bytes;
    double layer_ops, head_ops;
    bool int8;
} hsdi_file_model;

typedef struct hsdi_file_acceptance {
    double seen, ngram, exit_part;
    double *accept;
    unsigned accept_count;
    double own[HSDI_COST_ROWS], both[HSDI_COST_ROWS];
    int window, brief_window;
    double brief_own[HSDI_COST_ROWS], brief_both[HSDI_COST_ROWS];
    char *trail;
} hsdi_file_acceptance;

typedef struct hsdi_file_profile {
    int version;
    char *made, *machine, *fingerprint, *cache;
    bool described;
    hsdi_file_model *target, *draft;
    hsdi_file_device *devices;
    hsdi_file_pass *passes;
    hsdi_file_table *tables;
    hsdi_file_slowdown *slowdowns;
    hsdi_file_turn *turns;
    unsigned devices_count, passes_count, tables_count, slowdowns_count, turns_count;
    hsdi_cost_rendezvous *rendezvous;
    hsdi_file_acceptance *acceptance;
} hsdi_file_profile;

/// Of a hsdi_file_profile.
extern const cyaml_schema_value_t hsdi_profile_schema;

#endif
