/// profile.yaml: profiles as libcyaml sees them, read and written by the same schema.
///
/// libcyaml checks types, ranges of whole numbers and names of keys, and says the line. What it
/// cannot know (numbers that make sense, devices that are listed) is checked afterwards; for the
/// line of such an entry the text is read once more as a document of libyaml.
#include "topology/profile.h"

#include "base/error.h"
#include "base/numbers.h"
#include "topology/yaml.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { VERSION = 1, TEXT_MAX = 255, LAYERS_MAX = 65536 };
static const int64_t SIZE_MAX_BYTES = INT64_C(1) << 46; ///< of a layer; of LAYERS_MAX: fits

/* What the file holds, as libcyaml fills it in. */

typedef struct file_device {
    char *name, *id, *failure;
    double to_latency_ns, to_gbps, from_latency_ns, from_gbps;
} file_device;

typedef struct file_pass {
    hsdi_cost_role role;
    hsdi_profile_part part;
    char *device;
    int threads, layers, rows, past, times;
    double median_ns, low_ns, high_ns, mean_ns;
} file_pass;

typedef struct file_table {
    hsdi_cost_role role;
    char *device;
    int threads, past;
    bool measured;
    double fixed_ns, layer_ns[HSDI_COST_ROWS], head_ns[HSDI_COST_ROWS];
} file_table;

typedef struct file_slowdown {
    hsdi_cost_role role;
    char *device, *beside;
    int threads, beside_threads;
    double factor, low, high;
} file_slowdown;

typedef struct file_turn {
    char *target, *draft;
    int target_threads, draft_threads;
    double step_ns, call_ns;
} file_turn;

typedef struct file_model {
    char *fingerprint;
    int layers, embd, vocab, ctx, heads, kv_heads, d_head;
    bool rotary;
    int64_t layer_bytes, head_bytes, embedding_bytes, cache_bytes;
    double layer_ops, head_ops;
    bool int8;
} file_model;

typedef struct file_acceptance {
    double seen, ngram, exit_part;
    double *accept;
    unsigned accept_count;
    double own[HSDI_COST_ROWS], both[HSDI_COST_ROWS];
    int window, brief_window;
    double brief_own[HSDI_COST_ROWS], brief_both[HSDI_COST_ROWS];
    char *trail;
} file_acceptance;

typedef struct file_profile {
    int version;
    char *made, *machine, *fingerprint, *cache;
    file_model *target, *draft;
    file_device *devices;
    file_pass *passes;
    file_table *tables;
    file_slowdown *slowdowns;
    file_turn *turns;
    unsigned devices_count, passes_count, tables_count, slowdowns_count, turns_count;
    hsdi_cost_rendezvous *rendezvous;
    file_acceptance *acceptance;
} file_profile;

/* The schema. */

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
    TEXT(file_device, name),          TEXT(file_device, id),
    MAYBE_TEXT(file_device, failure), MAYBE(file_device, to_latency_ns),
    MAYBE(file_device, to_gbps),      MAYBE(file_device, from_latency_ns),
    MAYBE(file_device, from_gbps),    CYAML_FIELD_END};
static const cyaml_schema_value_t device_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, file_device, device_fields)};

static const cyaml_schema_field_t pass_fields[] = {
    ROLE(file_pass),
    CYAML_FIELD_ENUM("part", CYAML_FLAG_STRICT, file_pass, part, parts, HSDI_N_PARTS),
    TEXT(file_pass, device),
    WHOLE(file_pass, threads),
    WHOLE(file_pass, layers),
    WHOLE(file_pass, rows),
    WHOLE(file_pass, past),
    WHOLE(file_pass, times),
    NUMBER(file_pass, median_ns),
    NUMBER(file_pass, low_ns),
    NUMBER(file_pass, high_ns),
    MAYBE(file_pass, mean_ns),
    CYAML_FIELD_END};
static const cyaml_schema_value_t pass_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, file_pass, pass_fields)};

static const cyaml_schema_field_t table_fields[] = {
    ROLE(file_table),
    TEXT(file_table, device),
    WHOLE(file_table, threads),
    WHOLE(file_table, past),
    CYAML_FIELD_BOOL("measured", CYAML_FLAG_DEFAULT, file_table, measured),
    NUMBER(file_table, fixed_ns),
    ROWS(file_table, layer_ns),
    ROWS(file_table, head_ns),
    CYAML_FIELD_END};
static const cyaml_schema_value_t table_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, file_table, table_fields)};

static const cyaml_schema_field_t slowdown_fields[] = {ROLE(file_slowdown),
                                                       TEXT(file_slowdown, device),
                                                       WHOLE(file_slowdown, threads),
                                                       TEXT(file_slowdown, beside),
                                                       WHOLE(file_slowdown, beside_threads),
                                                       NUMBER(file_slowdown, factor),
                                                       MAYBE(file_slowdown, low),
                                                       MAYBE(file_slowdown, high),
                                                       CYAML_FIELD_END};
static const cyaml_schema_value_t slowdown_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, file_slowdown, slowdown_fields)};

static const cyaml_schema_field_t turn_fields[] = {TEXT(file_turn, target),
                                                   WHOLE(file_turn, target_threads),
                                                   TEXT(file_turn, draft),
                                                   WHOLE(file_turn, draft_threads),
                                                   NUMBER(file_turn, step_ns),
                                                   NUMBER(file_turn, call_ns),
                                                   CYAML_FIELD_END};
static const cyaml_schema_value_t turn_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, file_turn, turn_fields)};

static const cyaml_schema_field_t model_fields[] = {
    TEXT(file_model, fingerprint),
    WHOLE(file_model, layers),
    WHOLE(file_model, embd),
    WHOLE(file_model, vocab),
    WHOLE(file_model, ctx),
    WHOLE(file_model, layer_bytes),
    WHOLE(file_model, head_bytes),
    WHOLE(file_model, embedding_bytes),
    WHOLE(file_model, cache_bytes),
    NUMBER(file_model, layer_ops),
    NUMBER(file_model, head_ops),
    CYAML_FIELD_BOOL("int8", CYAML_FLAG_DEFAULT, file_model, int8),
    CYAML_FIELD_INT("heads", CYAML_FLAG_OPTIONAL, file_model, heads),
    CYAML_FIELD_INT("kv_heads", CYAML_FLAG_OPTIONAL, file_model, kv_heads),
    CYAML_FIELD_INT("d_head", CYAML_FLAG_OPTIONAL, file_model, d_head),
    CYAML_FIELD_BOOL("rotary", CYAML_FLAG_OPTIONAL, file_model, rotary),
    CYAML_FIELD_END};

static const cyaml_schema_field_t rendezvous_fields[] = {
    NUMBER(hsdi_cost_rendezvous, inproc_ns), NUMBER(hsdi_cost_rendezvous, ipc_ns),
    NUMBER(hsdi_cost_rendezvous, tcp_ns), NUMBER(hsdi_cost_rendezvous, serial_extra_ns),
    CYAML_FIELD_END};

static const cyaml_schema_field_t acceptance_fields[] = {
    NUMBER(file_acceptance, seen),
    MAYBE(file_acceptance, ngram),
    MAYBE(file_acceptance, exit_part),
    CYAML_FIELD_SEQUENCE("accept", CYAML_FLAG_POINTER | CYAML_FLAG_FLOW, file_acceptance, accept,
                         &number, 0, HSDI_COST_DEPTHS),
    ROWS(file_acceptance, own),
    ROWS(file_acceptance, both),
    CYAML_FIELD_INT("window", CYAML_FLAG_OPTIONAL, file_acceptance, window),
    CYAML_FIELD_INT("brief_window", CYAML_FLAG_OPTIONAL, file_acceptance, brief_window),
    MAYBE_ROWS(file_acceptance, brief_own),
    MAYBE_ROWS(file_acceptance, brief_both),
    CYAML_FIELD_STRING_PTR("trail", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, file_acceptance,
                           trail, 0, HSDI_TRAIL_BYTES - 1),
    CYAML_FIELD_END};

#define LIST(name, most)                                                                           \
    CYAML_FIELD_SEQUENCE(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, file_profile, name,      \
                         &FIELD_OF_##name, 0, most)
#define FIELD_OF_devices device_value
#define FIELD_OF_passes pass_value
#define FIELD_OF_tables table_value
#define FIELD_OF_slowdowns slowdown_value
#define FIELD_OF_turns turn_value
#define PART(name, fields)                                                                         \
    CYAML_FIELD_MAPPING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, file_profile, name,   \
                            fields)

static const cyaml_schema_field_t profile_fields[] = {WHOLE(file_profile, version),
                                                      MAYBE_TEXT(file_profile, made),
                                                      MAYBE_TEXT(file_profile, machine),
                                                      TEXT(file_profile, fingerprint),
                                                      TEXT(file_profile, cache),
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
static const cyaml_schema_value_t profile_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, file_profile, profile_fields)};

/* Reading. */

/// What libcyaml said: the first sentence, and the innermost place of its backtrace.
typedef struct complaint {
    char text[160];
    char field[64];
    int64_t line;
} complaint;

static void note(cyaml_log_t level, void *user, const char *fmt, va_list args)
{
    complaint *c = user;
    char text[256];
    (void)level;
    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = 0;
    const char *line = strstr(text, "(line: ");
    if (line && c->line == 0) {
        c->line = strtoll(line + 7, NULL, 10);
        const char *quote = strchr(text, '\'');
        if (quote && strncmp(text, "  in mapping field", 18) == 0) {
            snprintf(c->field, sizeof c->field, "%.*s", (int)strcspn(quote + 1, "'"), quote + 1);
        }
    } else if (!c->text[0]) {
        const char *begin = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
        snprintf(c->text, sizeof c->text, "%.150s", begin);
    }
}

static const cyaml_config_t quiet = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};

/// Node of a path in a document: a key of a mapping, then (at >= 0) an entry of its sequence.
static const yaml_node_t *node_at(yaml_document_t *document, const char *list, int at,
                                  const char *key)
{
    const yaml_node_t *node = yaml_document_get_root_node(document);
    const char *const keys[] = {list, key};
    for (int level = 0; level < 2 && node; level++) {
        const yaml_node_t *found = NULL;
        if (node->type == YAML_MAPPING_NODE && keys[level]) {
            for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
                 p < node->data.mapping.pairs.top; p++) {
                const yaml_node_t *name = yaml_document_get_node(document, p->key);
                if (name && name->type == YAML_SCALAR_NODE &&
                    strcmp((const char *)name->data.scalar.value, keys[level]) == 0) {
                    found = yaml_document_get_node(document, p->value);
                }
            }
        }
        node = found ? found : keys[level] ? NULL : node;
        if (level == 0 && node && at >= 0 && node->type == YAML_SEQUENCE_NODE) {
            yaml_node_item_t *item = node->data.sequence.items.start + at;
            node = item < node->data.sequence.items.top ? yaml_document_get_node(document, *item)
                                                        : NULL;
        }
    }
    return node;
}

/// Where the checks stand: for errors.
typedef struct reader {
    const char *name;
    const void *text;
    size_t n_bytes;
    hsd_error *err;
    hsd_status status;
} reader;

static int64_t line_of(const reader *in, const char *list, int at, const char *key)
{
    yaml_parser_t parser;
    yaml_document_t document;
    int64_t line = 0;
    if (!yaml_parser_initialize(&parser)) {
        return 0;
    }
    yaml_parser_set_input_string(&parser, in->text, in->n_bytes);
    if (yaml_parser_load(&parser, &document)) {
        const yaml_node_t *node = node_at(&document, list, at, key);
        line = node ? (int64_t)node->start_mark.line + 1 : 0;
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    return line;
}

static void refuse(reader *in, int64_t line, const char *key, const char *why)
{
    if (in->status == HSD_OK) {
        in->status = hsdi_fail(in->err, HSD_EFORMAT, in->name, "%s: %s", key, why);
        if (in->err) {
            in->err->line = line;
        }
    }
}

static void need(reader *in, bool holds, const char *list, int at, const char *key, const char *why)
{
    if (!holds && in->status == HSD_OK) {
        refuse(in, line_of(in, list, at, key), key ? key : list, why);
    }
}

static bool is_sane(double x)
{
    return isfinite(x) && x >= 0.0;
}

static void need_sane(reader *in, double x, const char *list, int at, const char *key)
{
    need(in, is_sane(x), list, at, key, "a number is negative or not finite");
}

static uint64_t hash_of(reader *in, const char *text, const char *list, const char *key)
{
    char *end = NULL;
    errno = 0;
    uint64_t value = strtoull(text, &end, 16);
    bool is_hash = strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16 && !*end && !errno;
    need(in, is_hash, list, -1, key, "it is not 16 hexadecimal digits");
    return value;
}

static void copy_text(reader *in, const char *from, char *to, size_t cap, const char *list, int at,
                      const char *key)
{
    from = from ? from : "";
    size_t n = strlen(from);
    need(in, n < cap, list, at, key, "it is too long");
    n = n < cap ? n : cap - 1;
    memcpy(to, from, n);
    to[n] = 0;
}

static int device_index(reader *in, const hsdi_profile *p, const char *name, const char *list,
                        int at, const char *key)
{
    for (int i = 0; i < p->n_devices; i++) {
        if (strcmp(p->devices[i].name, name) == 0) {
            return i;
        }
    }
    need(in, false, list, at, key, "no device of this name is listed");
    return 0;
}

static bool is_size(int64_t n)
{
    return n >= 0 && n <= SIZE_MAX_BYTES;
}

static void take_model(reader *in, const file_model *f, const char *list, hsdi_cost_model *out)
{
    if (!f) {
        return;
    }
    *out = (hsdi_cost_model){.fingerprint = hash_of(in, f->fingerprint, list, "fingerprint"),
                             .n_layers = f->layers,
                             .n_embd = f->embd,
                             .n_vocab = f->vocab,
                             .n_ctx = f->ctx,
                             .layer_bytes = f->layer_bytes,
                             .head_bytes = f->head_bytes,
                             .embedding_bytes = f->embedding_bytes,
                             .cache_bytes = f->cache_bytes,
                             .layer_ops = f->layer_ops,
                             .head_ops = f->head_ops,
                             .weights_are_int8 = f->int8,
                             .n_heads = f->heads,
                             .n_kv_heads = f->kv_heads,
                             .d_head = f->d_head,
                             .is_rotary = f->rotary};
    need(in, f->heads >= 0 && f->kv_heads >= 0 && f->d_head >= 0, list, -1, "heads",
         "a number is negative");
    need(in, f->layers >= 1 && f->embd >= 1 && f->vocab >= 1 && f->ctx >= 1, list, -1, "layers",
         "layers, embd, vocab and ctx are at least 1");
    need(in, f->layers <= LAYERS_MAX, list, -1, "layers", "too many layers");
    need(in,
         is_size(f->layer_bytes) && is_size(f->head_bytes) && is_size(f->embedding_bytes) &&
             is_size(f->cache_bytes),
         list, -1, "layer_bytes", "a number is negative or too large");
    need_sane(in, f->layer_ops, list, -1, "layer_ops");
    need_sane(in, f->head_ops, list, -1, "head_ops");
}

static void take_devices(reader *in, const file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->devices_count; i++) {
        const file_device *d = &f->devices[i];
        hsdi_profile_device *o = &out->devices[i];
        copy_text(in, d->name, o->name, sizeof o->name, "devices", i, "name");
        copy_text(in, d->id, o->id, sizeof o->id, "devices", i, "id");
        copy_text(in, d->failure, o->failure, sizeof o->failure, "devices", i, "failure");
        need(in, o->name[0] != 0, "devices", i, "name", "it is empty");
        for (int k = 0; k < i; k++) {
            need(in, strcmp(o->name, out->devices[k].name) != 0, "devices", i, "name",
                 "it is listed twice");
        }
        o->to_latency_ns = d->to_latency_ns;
        o->to_gbps = d->to_gbps;
        o->from_latency_ns = d->from_latency_ns;
        o->from_gbps = d->from_gbps;
        need_sane(in, d->to_latency_ns, "devices", i, "to_latency_ns");
        need_sane(in, d->to_gbps, "devices", i, "to_gbps");
        need_sane(in, d->from_latency_ns, "devices", i, "from_latency_ns");
        need_sane(in, d->from_gbps, "devices", i, "from_gbps");
        out->n_devices = i + 1;
    }
}

static void take_passes(reader *in, const file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->passes_count && in->status == HSD_OK; i++) {
        const file_pass *p = &f->passes[i];
        out->passes[out->n_passes++] =
            (hsdi_profile_pass){.role = p->role,
                                .part = p->part,
                                .i_device = device_index(in, out, p->device, "passes", i, "device"),
                                .n_threads = p->threads,
                                .n_layers = p->layers,
                                .n_rows = p->rows,
                                .n_past = p->past,
                                .n_times = p->times,
                                .median_ns = p->median_ns,
                                .low_ns = p->low_ns,
                                .high_ns = p->high_ns,
                                .mean_ns = p->mean_ns};
        need(in, p->threads >= 0 && p->layers >= 0 && p->rows >= 1 && p->past >= 0 && p->times >= 1,
             "passes", i, "rows", "a number is negative or zero");
        need_sane(in, p->median_ns, "passes", i, "median_ns");
        need_sane(in, p->low_ns, "passes", i, "low_ns");
        need_sane(in, p->high_ns, "passes", i, "high_ns");
        need_sane(in, p->mean_ns, "passes", i, "mean_ns");
    }
}

static void take_tables(reader *in, const file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->tables_count && in->status == HSD_OK; i++) {
        const file_table *t = &f->tables[i];
        hsdi_cost_table *o = &out->costs.tables[out->costs.n_tables++];
        *o = (hsdi_cost_table){.role = t->role,
                               .i_device = device_index(in, out, t->device, "tables", i, "device"),
                               .n_threads = t->threads,
                               .n_past = t->past,
                               .fixed_ns = t->fixed_ns,
                               .is_measured = t->measured};
        memcpy(o->layer_ns, t->layer_ns, sizeof o->layer_ns);
        memcpy(o->head_ns, t->head_ns, sizeof o->head_ns);
        need(in, t->threads >= 0 && t->past >= 0, "tables", i, "threads", "a number is negative");
        need_sane(in, t->fixed_ns, "tables", i, "fixed_ns");
        for (int k = 0; k < HSDI_COST_ROWS; k++) {
            need_sane(in, t->layer_ns[k], "tables", i, "layer_ns");
            need_sane(in, t->head_ns[k], "tables", i, "head_ns");
        }
    }
}

static void take_slowdowns(reader *in, const file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->slowdowns_count && in->status == HSD_OK; i++) {
        const file_slowdown *s = &f->slowdowns[i];
        out->slowdown_ranges[i] = (hsdi_profile_range){s->low, s->high};
        out->costs.slowdowns[out->costs.n_slowdowns++] = (hsdi_cost_slowdown){
            .role = s->role,
            .i_device = device_index(in, out, s->device, "slowdowns", i, "device"),
            .n_threads = s->threads,
            .i_beside = device_index(in, out, s->beside, "slowdowns", i, "beside"),
            .n_beside = s->beside_threads,
            .factor = s->factor};
        need(in, s->threads >= 0 && s->beside_threads >= 0, "slowdowns", i, "threads",
             "a number is negative");
        need(in, is_sane(s->factor) && s->factor >= 1.0, "slowdowns", i, "factor",
             "it is below 1 or not finite");
        need_sane(in, s->low, "slowdowns", i, "low");
        need_sane(in, s->high, "slowdowns", i, "high");
    }
}

static void take_turns(reader *in, const file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->turns_count && in->status == HSD_OK; i++) {
        const file_turn *t = &f->turns[i];
        out->costs.turns[out->costs.n_turns++] =
            (hsdi_cost_turn){.i_target = device_index(in, out, t->target, "turns", i, "target"),
                             .n_target = t->target_threads,
                             .i_draft = device_index(in, out, t->draft, "turns", i, "draft"),
                             .n_draft = t->draft_threads,
                             .step_ns = t->step_ns,
                             .call_ns = t->call_ns};
        need(in, t->target_threads >= 0 && t->draft_threads >= 0, "turns", i, "target_threads",
             "a number is negative");
        need_sane(in, t->step_ns, "turns", i, "step_ns");
        need_sane(in, t->call_ns, "turns", i, "call_ns");
    }
}

static bool is_share(double x)
{
    return isfinite(x) && x >= 0.0 && x <= 1.0;
}

static void take_acceptance(reader *in, const file_acceptance *f, hsdi_acceptance *out)
{
    static const char why[] = "a share is not in 0..1";
    if (!f) {
        return;
    }
    out->n_seen = f->seen;
    out->ngram_accept = f->ngram;
    out->exit_part = f->exit_part;
    need(in, is_share(f->exit_part), "acceptance", -1, "exit_part", why);
    need_sane(in, f->seen, "acceptance", -1, "seen");
    need(in, is_share(f->ngram), "acceptance", -1, "ngram", why);
    for (unsigned i = 0; i < f->accept_count; i++) {
        out->accept[i + 1] = f->accept[i];
        need(in, is_share(f->accept[i]), "acceptance", -1, "accept", why);
    }
    memcpy(out->own, f->own, sizeof out->own);
    memcpy(out->both, f->both, sizeof out->both);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        need(in, is_share(f->own[i]), "acceptance", -1, "own", why);
        need(in, is_share(f->both[i]), "acceptance", -1, "both", why);
        need(in, is_share(f->brief_own[i]), "acceptance", -1, "brief_own", why);
        need(in, is_share(f->brief_both[i]), "acceptance", -1, "brief_both", why);
    }
    out->window = f->window;
    out->brief_window = f->brief_window;
    memcpy(out->brief_own, f->brief_own, sizeof out->brief_own);
    memcpy(out->brief_both, f->brief_both, sizeof out->brief_both);
    need(in, f->window >= 0, "acceptance", -1, "window", "it is negative");
    need(in, f->brief_window >= 0, "acceptance", -1, "brief_window", "it is negative");
    copy_text(in, f->trail, out->trail, sizeof out->trail, "acceptance", -1, "trail");
    need(in, hsdi_acceptance_is_trail(out->trail), "acceptance", -1, "trail",
         "it has other characters than digits, - and spaces");
}

static void take_all(reader *in, const file_profile *f, hsdi_profile *out)
{
    need(in, f->version == VERSION, "version", -1, NULL, "only version 1 is known");
    out->machine = hash_of(in, f->fingerprint, "fingerprint", NULL);
    copy_text(in, f->machine, out->machine_name, sizeof out->machine_name, "machine", -1, NULL);
    copy_text(in, f->made, out->made, sizeof out->made, "made", -1, NULL);
    copy_text(in, f->cache, out->layout, sizeof out->layout, "cache", -1, NULL);
    take_model(in, f->target, "target", &out->costs.target);
    take_model(in, f->draft, "draft", &out->costs.draft);
    take_devices(in, f, out);
    take_tables(in, f, out);
    take_slowdowns(in, f, out);
    take_turns(in, f, out);
    take_passes(in, f, out);
    if (f->rendezvous) {
        out->costs.rendezvous = *f->rendezvous;
        need_sane(in, f->rendezvous->inproc_ns, "rendezvous", -1, "inproc_ns");
        need_sane(in, f->rendezvous->ipc_ns, "rendezvous", -1, "ipc_ns");
        need_sane(in, f->rendezvous->tcp_ns, "rendezvous", -1, "tcp_ns");
        need_sane(in, f->rendezvous->serial_extra_ns, "rendezvous", -1, "serial_extra_ns");
    }
    take_acceptance(in, f->acceptance, &out->costs.acceptance);
}

hsd_status hsdi_profile_parse(const void *text, size_t n_bytes, const char *name,
                              hsdi_profile **out, hsd_error *err)
{
    complaint c = {0};
    cyaml_config_t config = quiet;
    config.log_fn = note;
    config.log_ctx = &c;
    file_profile *file = NULL;
    *out = NULL;
    hsdi_numbers before = hsdi_numbers_plain();
    cyaml_err_t failure =
        cyaml_load_data(text, n_bytes, &config, &profile_value, (cyaml_data_t **)&file, NULL);
    hsdi_numbers_back(before);
    reader in = {.name = name, .text = text, .n_bytes = n_bytes, .err = err};
    if (failure != CYAML_OK || !file) {
        refuse(&in, c.line, c.field[0] ? c.field : "profile",
               c.text[0]             ? c.text
               : failure == CYAML_OK ? "it is empty"
                                     : cyaml_strerror(failure));
        (void)cyaml_free(&quiet, &profile_value, file, 0);
        return in.status;
    }
    in.status = hsdi_profile_create(out, err);
    if (in.status == HSD_OK) {
        take_all(&in, file, *out);
    }
    (void)cyaml_free(&quiet, &profile_value, file, 0);
    if (in.status != HSD_OK) {
        hsdi_profile_free(out);
    }
    return in.status;
}

hsd_status hsdi_profile_read(const char *path, hsdi_profile **out, hsd_error *err)
{
    size_t n_bytes = 0;
    char *text = NULL;
    *out = NULL;
    hsd_status status = hsdi_yaml_read_file(path, &text, &n_bytes, err);
    if (status == HSD_OK) {
        status = hsdi_profile_parse(text, n_bytes, path, out, err);
    }
    free(text);
    return status;
}

/* Writing. */

/// Memory of a file's lists; the texts are borrowed from the profile.
typedef struct writer {
    file_profile file;
    file_model target, draft;
    file_acceptance acceptance;
    hsdi_cost_rendezvous rendezvous;
    char machine[20], target_hash[20], draft_hash[20];
    file_device devices[HSDI_PROFILE_DEVICES];
    file_table tables[HSDI_COST_TABLES];
    file_slowdown slowdowns[HSDI_COST_TABLES];
    file_turn turns[HSDI_COST_TABLES];
    file_pass passes[HSDI_PROFILE_PASSES];
    double accept[HSDI_COST_DEPTHS];
} writer;

/// libcyaml has no const in what it writes.
static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void put_model(const hsdi_cost_model *m, char hash[20], file_model *out)
{
    snprintf(hash, 20, "%016llx", (unsigned long long)m->fingerprint);
    *out = (file_model){.fingerprint = hash,
                        .layers = m->n_layers,
                        .embd = m->n_embd,
                        .vocab = m->n_vocab,
                        .ctx = m->n_ctx,
                        .layer_bytes = m->layer_bytes,
                        .head_bytes = m->head_bytes,
                        .embedding_bytes = m->embedding_bytes,
                        .cache_bytes = m->cache_bytes,
                        .layer_ops = m->layer_ops,
                        .head_ops = m->head_ops,
                        .int8 = m->weights_are_int8,
                        .heads = m->n_heads,
                        .kv_heads = m->n_kv_heads,
                        .d_head = m->d_head,
                        .rotary = m->is_rotary};
}

static void put_lists(const hsdi_profile *p, writer *w)
{
    for (int i = 0; i < p->n_devices; i++) {
        const hsdi_profile_device *d = &p->devices[i];
        w->devices[i] = (file_device){
            text_of(d->name), text_of(d->id), d->failure[0] ? text_of(d->failure) : NULL,
            d->to_latency_ns, d->to_gbps,     d->from_latency_ns,
            d->from_gbps};
    }
    for (int i = 0; i < p->costs.n_tables; i++) {
        const hsdi_cost_table *t = &p->costs.tables[i];
        file_table *o = &w->tables[i];
        *o = (file_table){.role = t->role,
                          .device = text_of(p->devices[t->i_device].name),
                          .threads = t->n_threads,
                          .past = t->n_past,
                          .measured = t->is_measured,
                          .fixed_ns = t->fixed_ns};
        memcpy(o->layer_ns, t->layer_ns, sizeof o->layer_ns);
        memcpy(o->head_ns, t->head_ns, sizeof o->head_ns);
    }
    for (int i = 0; i < p->costs.n_slowdowns; i++) {
        const hsdi_cost_slowdown *s = &p->costs.slowdowns[i];
        w->slowdowns[i] = (file_slowdown){.role = s->role,
                                          .device = text_of(p->devices[s->i_device].name),
                                          .beside = text_of(p->devices[s->i_beside].name),
                                          .threads = s->n_threads,
                                          .beside_threads = s->n_beside,
                                          .factor = s->factor,
                                          .low = p->slowdown_ranges[i].low,
                                          .high = p->slowdown_ranges[i].high};
    }
    for (int i = 0; i < p->costs.n_turns; i++) {
        const hsdi_cost_turn *t = &p->costs.turns[i];
        w->turns[i] = (file_turn){.target = text_of(p->devices[t->i_target].name),
                                  .draft = text_of(p->devices[t->i_draft].name),
                                  .target_threads = t->n_target,
                                  .draft_threads = t->n_draft,
                                  .step_ns = t->step_ns,
                                  .call_ns = t->call_ns};
    }
    for (int i = 0; i < p->n_passes; i++) {
        const hsdi_profile_pass *s = &p->passes[i];
        w->passes[i] = (file_pass){.role = s->role,
                                   .part = s->part,
                                   .device = text_of(p->devices[s->i_device].name),
                                   .threads = s->n_threads,
                                   .layers = s->n_layers,
                                   .rows = s->n_rows,
                                   .past = s->n_past,
                                   .times = s->n_times,
                                   .median_ns = s->median_ns,
                                   .low_ns = s->low_ns,
                                   .high_ns = s->high_ns,
                                   .mean_ns = s->mean_ns};
    }
}

static void put_all(const hsdi_profile *p, writer *w)
{
    const hsdi_acceptance *a = &p->costs.acceptance;
    snprintf(w->machine, sizeof w->machine, "%016llx", (unsigned long long)p->machine);
    put_model(&p->costs.target, w->target_hash, &w->target);
    put_model(&p->costs.draft, w->draft_hash, &w->draft);
    put_lists(p, w);
    w->rendezvous = p->costs.rendezvous;
    w->acceptance =
        (file_acceptance){.seen = a->n_seen, .ngram = a->ngram_accept, .exit_part = a->exit_part};
    w->acceptance.accept = w->accept;
    memcpy(w->accept, a->accept + 1, sizeof w->accept);
    for (int d = 1; d <= HSDI_COST_DEPTHS; d++) {
        w->acceptance.accept_count = a->accept[d] > 0.0 ? (unsigned)d : w->acceptance.accept_count;
    }
    memcpy(w->acceptance.own, a->own, sizeof w->acceptance.own);
    memcpy(w->acceptance.both, a->both, sizeof w->acceptance.both);
    w->acceptance.window = a->window;
    w->acceptance.brief_window = a->brief_window;
    memcpy(w->acceptance.brief_own, a->brief_own, sizeof w->acceptance.brief_own);
    memcpy(w->acceptance.brief_both, a->brief_both, sizeof w->acceptance.brief_both);
    w->acceptance.trail = a->trail[0] ? text_of(a->trail) : NULL;
    w->file = (file_profile){.version = VERSION,
                             .made = text_of(p->made),
                             .machine = text_of(p->machine_name),
                             .fingerprint = w->machine,
                             .cache = text_of(p->layout),
                             .target = p->costs.target.n_layers > 0 ? &w->target : NULL,
                             .draft = p->costs.draft.n_layers > 0 ? &w->draft : NULL,
                             .devices = w->devices,
                             .passes = w->passes,
                             .tables = w->tables,
                             .slowdowns = w->slowdowns,
                             .turns = w->turns,
                             .devices_count = (unsigned)p->n_devices,
                             .passes_count = (unsigned)p->n_passes,
                             .tables_count = (unsigned)p->costs.n_tables,
                             .slowdowns_count = (unsigned)p->costs.n_slowdowns,
                             .turns_count = (unsigned)p->costs.n_turns,
                             .rendezvous = &w->rendezvous,
                             .acceptance = a->n_seen > 0.0 ? &w->acceptance : NULL};
}

hsd_status hsdi_profile_print(const hsdi_profile *profile, char **text, size_t *n_bytes,
                              hsd_error *err)
{
    complaint c = {0};
    cyaml_config_t config = quiet;
    config.log_fn = note;
    config.log_ctx = &c;
    char *yaml = NULL;
    *text = NULL;
    writer *w = calloc(1, sizeof *w);
    if (!w) {
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for its text");
    }
    put_all(profile, w);
    hsdi_numbers before = hsdi_numbers_plain();
    cyaml_err_t failure = cyaml_save_data(&yaml, n_bytes, &config, &profile_value, &w->file, 0);
    hsdi_numbers_back(before);
    free(w);
    // libcyaml's text does not end with a NUL.
    *text = failure == CYAML_OK ? realloc(yaml, *n_bytes + 1) : NULL;
    if (!*text) {
        free(yaml);
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for its text%s%s",
                         c.text[0] ? ": " : "", c.text);
    }
    (*text)[*n_bytes] = 0;
    return HSD_OK;
}
