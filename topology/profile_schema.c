/// The schema of profile.yaml.
#include "topology/profile_schema.h"

enum { TEXT_MAX = 255 };

static const cyaml_strval_t roles[] = {{"target", HSDI_COST_TARGET}, {"draft", HSDI_COST_DRAFT}};
static const cyaml_strval_t parts[] = {{"prefix", HSDI_PART_PREFIX},
                                       {"exit_head", HSDI_PART_EXIT_HEAD},
                                       {"suffix", HSDI_PART_SUFFIX},
                                       {"whole", HSDI_PART_WHOLE},
                                       {"rollout", HSDI_PART_ROLLOUT}};

#define NUMBER(type, name) CYAML_FIELD_FLOAT(#name, CYAML_FLAG_DEFAULT, type, name)
#define MAYBE(type, name) CYAML_FIELD_FLOAT(#name, CYAML_FLAG_OPTIONAL, type, name)
#define WHOLE(type, name) CYAML_FIELD_INT(#name, CYAML_FLAG_DEFAULT, type, name)
#define TEXT(type, name) CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER, type, name, 0, TEXT_MAX)
#define MAYBE_TEXT(type, name)                                                                     \
    CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, name, 0, TEXT_MAX)
#define ROLE(type) CYAML_FIELD_ENUM("role", CYAML_FLAG_STRICT, type, role, roles, 2)
#define ROWS(type, name)                                                                           \
    CYAML_FIELD_SEQUENCE_FIXED(#name, CYAML_FLAG_FLOW, type, name, &number, HSDI_COST_ROWS)

#define MAYBE_ROWS(type, name)                                                                     \
    CYAML_FIELD_SEQUENCE_FIXED(#name, CYAML_FLAG_FLOW | CYAML_FLAG_OPTIONAL, type, name, &number,  \
                               HSDI_COST_ROWS)

static const cyaml_schema_value_t number = {CYAML_VALUE_FLOAT(CYAML_FLAG_DEFAULT, double)};

static const cyaml_schema_field_t device_fields[] = {
    TEXT(hsdi_file_device, name),          TEXT(hsdi_file_device, id),
    MAYBE_TEXT(hsdi_file_device, failure), MAYBE(hsdi_file_device, to_latency_ns),
    MAYBE(hsdi_file_device, to_gbps),      MAYBE(hsdi_file_device, from_latency_ns),
    MAYBE(hsdi_file_device, from_gbps),    CYAML_FIELD_END};
static const cyaml_schema_value_t device_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, hsdi_file_device, device_fields)};

static const cyaml_schema_field_t pass_fields[] = {
    ROLE(hsdi_file_pass),
    CYAML_FIELD_ENUM("part", CYAML_FLAG_STRICT, hsdi_file_pass, part, parts, HSDI_N_PARTS),
    TEXT(hsdi_file_pass, device),
    WHOLE(hsdi_file_pass, threads),
    WHOLE(hsdi_file_pass, layers),
    WHOLE(hsdi_file_pass, rows),
    WHOLE(hsdi_file_pass, past),
    WHOLE(hsdi_file_pass, times),
    NUMBER(hsdi_file_pass, median_ns),
    NUMBER(hsdi_file_pass, low_ns),
    NUMBER(hsdi_file_pass, high_ns),
    MAYBE(hsdi_file_pass, mean_ns),
    CYAML_FIELD_END};
static const cyaml_schema_value_t pass_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, hsdi_file_pass, pass_fields)};

static const cyaml_schema_field_t table_fields[] = {
    ROLE(hsdi_file_table),
    TEXT(hsdi_file_table, device),
    WHOLE(hsdi_file_table, threads),
    WHOLE(hsdi_file_table, past),
    CYAML_FIELD_BOOL("measured", CYAML_FLAG_DEFAULT, hsdi_file_table, measured),
    NUMBER(hsdi_file_table, fixed_ns),
    ROWS(hsdi_file_table, layer_ns),
    ROWS(hsdi_file_table, head_ns),
    CYAML_FIELD_END};
static const cyaml_schema_value_t table_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, hsdi_file_table, table_fields)};

static const cyaml_schema_field_t slowdown_fields[] = {ROLE(hsdi_file_slowdown),
                                                       TEXT(hsdi_file_slowdown, device),
                                                       WHOLE(hsdi_file_slowdown, threads),
                                                       TEXT(hsdi_file_slowdown, beside),
                                                       WHOLE(hsdi_file_slowdown, beside_threads),
                                                       NUMBER(hsdi_file_slowdown, factor),
                                                       MAYBE(hsdi_file_slowdown, low),
                                                       MAYBE(hsdi_file_slowdown, high),
                                                       CYAML_FIELD_END};
static const cyaml_schema_value_t slowdown_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, hsdi_file_slowdown, slowdown_fields)};

static const cyaml_schema_field_t turn_fields[] = {TEXT(hsdi_file_turn, target),
                                                   WHOLE(hsdi_file_turn, target_threads),
                                                   TEXT(hsdi_file_turn, draft),
                                                   WHOLE(hsdi_file_turn, draft_threads),
                                                   NUMBER(hsdi_file_turn, step_ns),
                                                   NUMBER(hsdi_file_turn, call_ns),
                                                   CYAML_FIELD_END};
static const cyaml_schema_value_t turn_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, hsdi_file_turn, turn_fields)};

static const cyaml_schema_field_t model_fields[] = {
    TEXT(hsdi_file_model, fingerprint),
    WHOLE(hsdi_file_model, layers),
    WHOLE(hsdi_file_model, embd),
    WHOLE(hsdi_file_model, vocab),
    WHOLE(hsdi_file_model, ctx),
    WHOLE(hsdi_file_model, layer_bytes),
    WHOLE(hsdi_file_model, head_bytes),
    WHOLE(hsdi_file_model, embedding_bytes),
    WHOLE(hsdi_file_model, cache_bytes),
    NUMBER(hsdi_file_model, layer_ops),
    NUMBER(hsdi_file_model, head_ops),
    CYAML_FIELD_BOOL("int8", CYAML_FLAG_DEFAULT, hsdi_file_model, int8),
    CYAML_FIELD_INT("heads", CYAML_FLAG_OPTIONAL, hsdi_file_model, heads),
    CYAML_FIELD_INT("kv_heads", CYAML_FLAG_OPTIONAL, hsdi_file_model, kv_heads),
    CYAML_FIELD_INT("d_head", CYAML_FLAG_OPTIONAL, hsdi_file_model, d_head),
    CYAML_FIELD_BOOL("rotary", CYAML_FLAG_OPTIONAL, hsdi_file_model, rotary),
    CYAML_FIELD_END};

static const cyaml_schema_field_t rendezvous_fields[] = {
    NUMBER(hsdi_cost_rendezvous, inproc_ns), NUMBER(hsdi_cost_rendezvous, ipc_ns),
    NUMBER(hsdi_cost_rendezvous, tcp_ns), NUMBER(hsdi_cost_rendezvous, serial_extra_ns),
    CYAML_FIELD_END};

static const cyaml_schema_field_t acceptance_fields[] = {
    NUMBER(hsdi_file_acceptance, seen),
    MAYBE(hsdi_file_acceptance, ngram),
    MAYBE(hsdi_file_acceptance, exit_part),
    CYAML_FIELD_SEQUENCE("accept", CYAML_FLAG_POINTER | CYAML_FLAG_FLOW, hsdi_file_acceptance,
                         accept, &number, 0, HSDI_COST_DEPTHS),
    ROWS(hsdi_file_acceptance, own),
    ROWS(hsdi_file_acceptance, both),
    CYAML_FIELD_INT("window", CYAML_FLAG_OPTIONAL, hsdi_file_acceptance, window),
    CYAML_FIELD_INT("brief_window", CYAML_FLAG_OPTIONAL, hsdi_file_acceptance, brief_window),
    MAYBE_ROWS(hsdi_file_acceptance, brief_own),
    MAYBE_ROWS(hsdi_file_acceptance, brief_both),
    CYAML_FIELD_STRING_PTR("trail", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, hsdi_file_acceptance,
                           trail, 0, HSDI_TRAIL_BYTES - 1),
    CYAML_FIELD_END};

#define LIST(name, most)                                                                           \
    CYAML_FIELD_SEQUENCE(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, hsdi_file_profile, name, \
                         &FIELD_OF_##name, 0, most)
#define FIELD_OF_devices device_value
#define FIELD_OF_passes pass_value
#define FIELD_OF_tables table_value
#define FIELD_OF_slowdowns slowdown_value
#define FIELD_OF_turns turn_value
#define PART(name, fields)                                                                         \
    CYAML_FIELD_MAPPING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, hsdi_file_profile,    \
                            name, fields)

static const cyaml_schema_field_t profile_fields[] = {
    WHOLE(hsdi_file_profile, version),
    MAYBE_TEXT(hsdi_file_profile, made),
    MAYBE_TEXT(hsdi_file_profile, machine),
    TEXT(hsdi_file_profile, fingerprint),
    TEXT(hsdi_file_profile, cache),
    CYAML_FIELD_BOOL("described", CYAML_FLAG_OPTIONAL, hsdi_file_profile, described),
    PART(target, model_fields),
    PART(draft, model_fields),
    LIST(devices, HSDI_PROFILE_DEVICES),
    LIST(tables, HSDI_COST_TABLES),
    LIST(slowdowns, HSDI_COST_TABLES),
    LIST(turns, HSDI_COST_TABLES),
    PART(rendezvous, rendezvous_fields),
    PART(acceptance, acceptance_fields),
    LIST(passes, HSDI_PROFILE_PASSES),
    CYAML_FIELD_END};
const cyaml_schema_value_t hsdi_profile_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, hsdi_file_profile, profile_fields)};
