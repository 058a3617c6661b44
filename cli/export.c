/// `hsd export`: layers of a model as a network of fixed shapes.
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    KEY_JSON = 0x200,
    KEY_TARGET,
    KEY_DRAFT,
    KEY_LAYERS,
    KEY_ROWS,
    KEY_CONTEXT,
    KEY_TYPE,
    KEY_OUT
};

typedef struct export_options {
    hsd_network_options network;
    const char *folder;
    bool json;
} export_options;

static const struct argp_option options[] = {
    {"draft", KEY_DRAFT, "FILE", 0, "GGUF file of the model (default: the shipped draft)", 0},
    {"target", KEY_TARGET, "FILE", 0, "the same; one of the two", 0},
    {"layers", KEY_LAYERS, "A-B", 0,
     "from layer A up to, not including, layer B (default: all). From 0 on tokens go in, else "
     "hidden rows; up to the last one logits come out, else hidden rows",
     0},
    {"rows", KEY_ROWS, "N", 0, "rows of every pass (default 8)", 0},
    {"context", KEY_CONTEXT, "N", 0,
     "cells of the caches, and positions (default: as trained, up to 4096)", 0},
    {"type", KEY_TYPE, "TYPE", 0,
     "of the matrices: f16, f32, or i8: Q8_0 as it is, others f16 (default f16)", 0},
    {"out", KEY_OUT, "DIR", 0, "folder to write to, made where it is missing; required", 0},
    {"json", KEY_JSON, 0, 0, "print what model.json holds", 0},
    {0},
};

static const char doc[] =
    "Write a model, or some of its layers, as a network of fixed shapes for devices that run "
    "nothing else (NPUs): DIR/model.xml and DIR/model.bin are OpenVINO IR, DIR/model.json says "
    "what goes in and out. hsd does not run networks."
    "\v"
    "Examples:\n"
    "  hsd export --out draft-network\n"
    "  hsd export --target big.gguf --layers 0-16 --rows 16 --out prefix\n"
    "\n" CLI_EXIT_CODES;

static void parse_layers(struct argp_state *state, const char *text, hsd_network_options *out)
{
    char first[16];
    size_t n = strcspn(text, "-");
    if (text[n] != '-' || n >= sizeof first) {
        argp_error(state, "--layers: '%s' is not of the form A-B", text);
        return;
    }
    snprintf(first, sizeof first, "%.*s", (int)n, text);
    out->begin = (int)cli_parse_int(state, "--layers", first, 0, 9999);
    out->end = (int)cli_parse_int(state, "--layers", text + n + 1, 1, 9999);
    if (out->begin >= out->end) {
        argp_error(state, "--layers: %s has no layer", text);
    }
}

static void set_model(struct argp_state *state, const char *path, hsd_network_options *out)
{
    if (out->model_path) {
        argp_error(state, "one model: --draft or --target");
    }
    out->model_path = path;
}

static const char *const type_names[] = {
    [HSD_NETWORK_F16] = "f16", [HSD_NETWORK_F32] = "f32", [HSD_NETWORK_I8] = "i8"};

static void set_type(struct argp_state *state, const char *name, hsd_network_options *out)
{
    for (int i = 0; i <= (int)HSD_NETWORK_I8; i++) {
        if (strcmp(name, type_names[i]) == 0) {
            out->type = (hsd_network_type)i;
            return;
        }
    }
    argp_error(state, "--type: '%s' is none of f16, f32, i8", name);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    export_options *o = state->input;
    switch (key) {
    case KEY_DRAFT:
    case KEY_TARGET:
        set_model(state, arg, &o->network);
        return 0;
    case KEY_LAYERS:
        parse_layers(state, arg, &o->network);
        return 0;
    case KEY_ROWS:
        o->network.n_rows = (int)cli_parse_int(state, "--rows", arg, 1, 1024);
        return 0;
    case KEY_CONTEXT:
        o->network.n_ctx = (int)cli_parse_int(state, "--context", arg, 1, 1 << 17);
        return 0;
    case KEY_TYPE:
        set_type(state, arg, &o->network);
        return 0;
    case KEY_OUT:
        o->folder = arg;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    case ARGP_KEY_END:
        if (!o->folder) {
            argp_error(state, "--out DIR is missing");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/// Inputs or outputs; NULL when memory is short.
static json_t *json_ports(const hsd_network *n, bool is_output)
{
    json_t *array = json_array();
    for (int i = 0; array && i < n->n_ports; i++) {
        const hsd_network_port *p = &n->ports[i];
        json_t *shape = json_array();
        for (int d = 0; d < p->n_dims; d++) {
            json_array_append_new(shape, json_integer(p->dims[d]));
        }
        json_t *item =
            json_pack("{s:s, s:s, s:o}", "name", p->name, "type", p->type, "shape", shape);
        if (p->is_output != is_output) {
            json_decref(item);
        } else if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

static json_t *describe(const export_options *o, const hsd_network *n)
{
    char fingerprint[17];
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, n->fingerprint);
    return json_pack("{s:s, s:s, s:s, s:[i,i], s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:o, s:o}",
                     "format", "openvino ir 11", "architecture", n->architecture, "fingerprint",
                     fingerprint, "layers", n->begin, n->end, "n_layers", n->n_layers, "n_vocab",
                     n->n_vocab, "rows", n->n_rows, "context", n->n_ctx, "type",
                     type_names[o->network.type], "from", n->from_tokens ? "tokens" : "hidden",
                     "to", n->to_logits ? "logits" : "hidden", "inputs", json_ports(n, false),
                     "outputs", json_ports(n, true));
}

static int write_description(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool ok = file && fputs(text, file) >= 0;
    ok = (!file || fclose(file) == 0) && ok;
    return ok ? CLI_OK : cli_failf("%s: writing: %s (EIO)", path, strerror(errno));
}

/// model.json, and what is printed.
static int report(const export_options *o, const hsd_network *n, const char *json_path)
{
    char *text = cli_json_text(describe(o, n));
    if (!text) {
        return cli_failf("export: memory could not be allocated (ENOMEM)");
    }
    int code = write_description(json_path, text);
    if (code == CLI_OK && o->json) {
        cli_outf("%s", text);
    } else if (code == CLI_OK) {
        cli_outf("layers %d to %d of %d, %d rows, %d cells, from %s to %s: %s/model.xml, .bin, "
                 ".json\n",
                 n->begin, n->end, n->n_layers, n->n_rows, n->n_ctx,
                 n->from_tokens ? "tokens" : "hidden rows", n->to_logits ? "logits" : "hidden rows",
                 o->folder);
    }
    free(text);
    return code == CLI_OK ? cli_close_stdout() : code;
}

int cli_export(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    export_options o = {0};
    hsd_network_options_init(&o.network);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    char *xml = NULL, *bin = NULL, *json = NULL;
    if (asprintf(&xml, "%s/model.xml", o.folder) < 0 ||
        asprintf(&bin, "%s/model.bin", o.folder) < 0 ||
        asprintf(&json, "%s/model.json", o.folder) < 0) {
        return cli_failf("export: memory could not be allocated (ENOMEM)");
    }
    int code = CLI_OK;
    if (mkdir(o.folder, 0777) != 0 && errno != EEXIST) {
        code = cli_failf("%s: making the folder: %s (EIO)", o.folder, strerror(errno));
    } else {
        hsd_error err = cli_no_error();
        hsd_network network = {0};
        o.network.xml_path = xml;
        o.network.bin_path = bin;
        hsd_status status = hsd_network_write(&o.network, &network, &err);
        code = status == HSD_OK ? report(&o, &network, json) : cli_fail(status, &err);
        hsd_network_fini(&network);
    }
    free(xml);
    free(bin);
    free(json);
    return code;
}
