/// `hsd info`: what a model file is, without running it.
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>

enum { KEY_JSON = 0x200 };

typedef struct info_options {
    const char *path;
    bool json;
} info_options;

static const struct argp_option options[] = {
    {"json", KEY_JSON, 0, 0, "print one JSON object", 0},
    {0},
};

static const char doc[] =
    "Say what a GGUF model file is: architecture, sizes, tensor types, tokenizer, and whether hsd "
    "can run it."
    "\v"
    "Examples:\n"
    "  hsd info model.gguf\n"
    "  hsd info model.gguf --json\n"
    "\n"
    "Two files whose `vocabulary hash' is equal can serve as target and draft.\n"
    "\n" CLI_EXIT_CODES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    info_options *o = state->input;
    switch (key) {
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->path) {
            argp_error(state, "more than one file was given");
        }
        o->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->path) {
            argp_error(state, "a model file is missing");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_types(const hsd_model_info *info)
{
    for (int i = 0; i < info->n_types; i++) {
        const hsd_model_type_count *type = &info->types[i];
        cli_outf("%-18s%s: %" PRId64 " tensors, %.1f MB%s\n", i == 0 ? "tensors" : "", type->name,
                 type->n_tensors, (double)type->size_bytes / 1e6,
                 type->supported ? "" : " (not supported)");
    }
}

static void print_table(const char *path, const hsd_model_info *info)
{
    cli_outf("%-18s%s\n", "file", path);
    cli_outf("%-18sGGUF version %d, %.1f MB\n", "format", info->gguf_version,
             (double)info->file_bytes / 1e6);
    if (info->name[0]) {
        cli_outf("%-18s%s\n", "name", info->name);
    }
    cli_outf("%-18s%s\n", "architecture", info->architecture);
    cli_outf("%-18s%s%s\n", "hsd can run it",
             info->supported ? "yes" : "no: ", info->supported ? "" : info->unsupported_why);
    cli_outf("%-18s%.2f million\n", "parameters", (double)info->n_parameters / 1e6);
    cli_outf("%-18s%d layers, width %d, feed-forward %d\n", "shape", info->n_layers, info->n_embd,
             info->n_ff);
    cli_outf("%-18s%d heads, %d key/value heads, width %d\n", "attention", info->n_head,
             info->n_kv_head, info->d_head);
    cli_outf("%-18s%d tokens, positions %s\n", "context", info->n_ctx, info->rope);
    cli_outf("%-18s%s\n", "LM head", info->tied_head ? "the token embedding" : "its own tensor");
    cli_outf("%-18s%s%s%s%s, %d tokens\n", "tokenizer", info->tokenizer,
             info->pre_tokenizer[0] ? " (" : "", info->pre_tokenizer,
             info->pre_tokenizer[0] ? ")" : "", info->n_vocab);
    cli_outf("%-18sBOS %d%s, EOS %d (-1: none)\n", "special tokens", (int)info->bos,
             info->add_bos ? " (added to prompts)" : "", (int)info->eos);
    cli_outf("%-18s%016" PRIx64 "\n", "vocabulary hash", info->vocab_hash);
    cli_outf("%-18s%016" PRIx64 "\n", "fingerprint", info->fingerprint);
    print_types(info);
}

static json_t *json_types(const hsd_model_info *info)
{
    json_t *array = json_array();
    for (int i = 0; array && i < info->n_types; i++) {
        const hsd_model_type_count *type = &info->types[i];
        json_t *item = json_pack("{s:s, s:b, s:I, s:I}", "type", type->name, "supported",
                                 type->supported, "tensors", (json_int_t)type->n_tensors, "bytes",
                                 (json_int_t)type->size_bytes);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/// Text of a file that may not be UTF-8; JSON wants UTF-8.
static json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    return string ? string : json_string("?");
}

static int print_json(const char *path, const hsd_model_info *info)
{
    char vocab_hash[17];
    char fingerprint[17];
    snprintf(vocab_hash, sizeof vocab_hash, "%016" PRIx64, info->vocab_hash);
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, info->fingerprint);
    json_t *object = json_pack(
        "{s:o, s:i, s:I, s:o, s:o, s:b, s:o, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:o,"
        " s:o, s:o, s:i, s:i, s:i, s:b, s:s, s:s, s:o}",
        "file", json_text(path), "gguf_version", info->gguf_version, "file_bytes",
        (json_int_t)info->file_bytes, "name", json_text(info->name), "architecture",
        json_text(info->architecture), "supported", info->supported, "unsupported_why",
        json_text(info->unsupported_why), "n_parameters", (json_int_t)info->n_parameters,
        "n_layers", info->n_layers, "n_ctx", info->n_ctx, "n_embd", info->n_embd, "n_head",
        info->n_head, "n_kv_head", info->n_kv_head, "d_head", info->d_head, "n_ff", info->n_ff,
        "tied_head", info->tied_head, "rope", json_text(info->rope), "tokenizer",
        json_text(info->tokenizer), "pre_tokenizer", json_text(info->pre_tokenizer), "n_vocab",
        info->n_vocab, "bos", (int)info->bos, "eos", (int)info->eos, "add_bos", info->add_bos,
        "vocab_hash", vocab_hash, "fingerprint", fingerprint, "types", json_types(info));
    return cli_print_json(object);
}

int cli_info(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .args_doc = "FILE", .doc = doc};
    info_options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    hsd_error err = cli_no_error();
    hsd_model_info info = {0};
    hsd_status status = hsd_model_inspect(o.path, &info, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    if (o.json) {
        return print_json(o.path, &info);
    }
    print_table(o.path, &info);
    return cli_close_stdout();
}
