/// profile.yaml to a profile.
///
/// libcyaml checks types, ranges of whole numbers and names of keys, and says the line. What it
/// cannot know (numbers that make sense, devices that are listed) is checked afterwards; for the
/// line of such an entry the text is read once more as a document of libyaml.
#include "topology/profile_schema.h"

#include "base/error.h"
#include "base/numbers.h"
#include "topology/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS_MAX = 65536 };
static const int64_t SIZE_MAX_BYTES = INT64_C(1) << 46; ///< of a layer; of LAYERS_MAX: fits

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

static void take_model(reader *in, const hsdi_file_model *f, const char *list, hsdi_cost_model *out)
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

static void take_devices(reader *in, const hsdi_file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->devices_count; i++) {
        const hsdi_file_device *d = &f->devices[i];
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

static void take_passes(reader *in, const hsdi_file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->passes_count && in->status == HSD_OK; i++) {
        const hsdi_file_pass *p = &f->passes[i];
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

static void take_tables(reader *in, const hsdi_file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->tables_count && in->status == HSD_OK; i++) {
        const hsdi_file_table *t = &f->tables[i];
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

static void take_slowdowns(reader *in, const hsdi_file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->slowdowns_count && in->status == HSD_OK; i++) {
        const hsdi_file_slowdown *s = &f->slowdowns[i];
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

static void take_turns(reader *in, const hsdi_file_profile *f, hsdi_profile *out)
{
    for (int i = 0; i < (int)f->turns_count && in->status == HSD_OK; i++) {
        const hsdi_file_turn *t = &f->turns[i];
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

static void take_acceptance(reader *in, const hsdi_file_acceptance *f, hsdi_acceptance *out)
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

static void take_all(reader *in, const hsdi_file_profile *f, hsdi_profile *out)
{
    need(in, f->version == HSDI_PROFILE_VERSION, "version", -1, NULL, "only version 1 is known");
    out->machine = hash_of(in, f->fingerprint, "fingerprint", NULL);
    out->is_described = f->described;
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
    hsdi_file_profile *file = NULL;
    *out = NULL;
    hsdi_numbers before = hsdi_numbers_plain();
    cyaml_err_t failure =
        cyaml_load_data(text, n_bytes, &config, &hsdi_profile_schema, (cyaml_data_t **)&file, NULL);
    hsdi_numbers_back(before);
    reader in = {.name = name, .text = text, .n_bytes = n_bytes, .err = err};
    if (failure != CYAML_OK || !file) {
        refuse(&in, c.line, c.field[0] ? c.field : "profile",
               c.text[0]             ? c.text
               : failure == CYAML_OK ? "it is empty"
                                     : cyaml_strerror(failure));
        (void)cyaml_free(&quiet, &hsdi_profile_schema, file, 0);
        return in.status;
    }
    in.status = hsdi_profile_create(out, err);
    if (in.status == HSD_OK) {
        take_all(&in, file, *out);
    }
    (void)cyaml_free(&quiet, &hsdi_profile_schema, file, 0);
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
