/// `hsd tune`: which kernels a device computes products with, measured and kept.
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_JSON = 0x200,
    KEY_DEVICE,
    KEY_TYPE,
    KEY_REPEATS,
    KEY_CHANNELS,
    KEY_INT8,
    MAX_TYPES = 16
};

typedef struct tune_options {
    hsd_tune_options tune;
    const char *types[MAX_TYPES];
    bool json;
} tune_options;

static const struct argp_option options[] = {
    {"device", KEY_DEVICE, "NAME", 0, "opencl, opencl:N, level_zero, .. (default: opencl)", 0},
    {"type", KEY_TYPE, "TYPE", 0, "only this tensor type (Q8_0, ..); may be given several times",
     0},
    {"repeats", KEY_REPEATS, "N", 0, "runs of each candidate, 1..1000; medians count (default: 15)",
     0},
    {"channels", KEY_CHANNELS, "N", 0, "size of the product, 1..1048576 (default: 5632)", 0},
    {"int8", KEY_INT8, 0, 0,
     "try rows in 8 bits also where the device has no instruction for them; the text may change",
     0},
    {"json", KEY_JSON, 0, 0, "print one JSON object", 0},
    {0},
};

static const char doc[] =
    "Measure the kernels for products on a device and keep the fastest that compute the same, "
    "in the cache folder, for all later runs there."
    "\v"
    "Examples:\n"
    "  hsd tune\n"
    "  hsd tune --device opencl:1 --type Q8_0 --type F16\n"
    "\n"
    "Takes minutes: kernels are compiled. What is kept never changes the text of a device, unless "
    "a type gets kernels named dot..: these round rows to 8 bits.\n"
    "\n" CLI_EXIT_CODES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    tune_options *o = state->input;
    switch (key) {
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_INT8:
        o->tune.int8 = true;
        return 0;
    case KEY_DEVICE:
        o->tune.device = arg;
        return 0;
    case KEY_TYPE:
        if (o->tune.n_types == MAX_TYPES) {
            argp_error(state, "--type is given more than %d times", (int)MAX_TYPES);
        }
        o->types[o->tune.n_types++] = arg;
        return 0;
    case KEY_REPEATS:
        o->tune.n_repeats = (int)cli_parse_int(state, "--repeats", arg, 1, 1000);
        return 0;
    case KEY_CHANNELS:
        o->tune.n_channels = (int)cli_parse_int(state, "--channels", arg, 1, 1 << 20);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool go_on(void *user, const char *type, int n_rows)
{
    (void)user;
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K%s, %d rows", type, n_rows);
    }
    return !cli_interrupted();
}

static double gain(const hsd_tuned *t)
{
    return t->after_us > 0.0 ? t->before_us / t->after_us : 1.0;
}

static int print_table(const hsd_tuned *all, int n)
{
    cli_outf("%-6s %8s %20s %10s %20s %10s %6s %12s\n", "type", "rows", "before", "us", "after",
             "us", "gain", "tried");
    for (int i = 0; i < n; i++) {
        const hsd_tuned *t = &all[i];
        char rows[16] = "more";
        if (t->last_rows > 0) {
            snprintf(rows, sizeof rows, t->last_rows == 1 ? "1" : "to %d", t->last_rows);
        }
        cli_outf("%-6s %8s %20s %10.1f %20s %10.1f %6.2f %12d", t->type, rows, t->before,
                 t->before_us, t->after, t->after_us, gain(t), t->n_candidates);
        if (t->n_refused + t->n_wrong > 0) {
            cli_outf("  (%d refused, %d wrong)", t->n_refused, t->n_wrong);
        }
        cli_outf("\n");
    }
    return cli_close_stdout();
}

static int print_json(const hsd_tuned *all, int n)
{
    json_t *array = json_array();
    for (int i = 0; array && i < n; i++) {
        const hsd_tuned *t = &all[i];
        json_t *item = json_pack("{s:s, s:i, s:i, s:s, s:f, s:s, s:f, s:f, s:i, s:i, s:i}", "type",
                                 t->type, "n_rows", t->n_rows, "last_rows", t->last_rows, "before",
                                 t->before, "before_us", t->before_us, "after", t->after,
                                 "after_us", t->after_us, "gain", gain(t), "n_candidates",
                                 t->n_candidates, "n_refused", t->n_refused, "n_wrong", t->n_wrong);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return cli_print_json(json_pack("{s:o}", "tuned", array));
}

int cli_tune(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    tune_options o = {0};
    hsd_error err = cli_no_error();
    hsd_tuned all[HSD_TUNED_MAX];
    int n = 0;
    hsd_tune_options_init(&o.tune);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    o.tune.types = o.types;
    o.tune.go_on = go_on;
    cli_signals_init();
    hsd_status status = hsd_tune(&o.tune, all, HSD_TUNED_MAX, &n, &err);
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K");
    }
    if (status == HSD_ECANCELED) {
        return CLI_INTERRUPTED;
    }
    return status != HSD_OK ? cli_fail(status, &err)
           : o.json         ? print_json(all, n)
                            : print_table(all, n);
}
