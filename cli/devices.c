/// `hsd devices`: what models can run on.
#include "cli/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_JSON = 0x200, KEY_MEASURE, MAX_DEVICES = 64 };

typedef struct devices_options {
    bool json, measure;
} devices_options;

static const struct argp_option options[] = {
    {"json", KEY_JSON, 0, 0, "print one JSON object", 0},
    {"measure", KEY_MEASURE, 0, 0,
     "measure how fast each reads and computes, some seconds each, and keep it for later lists", 0},
    {0},
};

static const char doc[] = "List the devices that --device and --draft-device of run, batch and "
                          "bench take."
                          "\v"
                          "Examples:\n"
                          "  hsd devices\n"
                          "  hsd devices --measure\n"
                          "  hsd run --device opencl:0 --prompt \"Once upon a time\"\n"
                          "\n"
                          "Where no OpenCL device is listed, `hsd run --device opencl' says why;\n"
                          "the same with level_zero.\n"
                          "\n" CLI_EXIT_CODES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    devices_options *o = state->input;
    switch (key) {
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_MEASURE:
        o->measure = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/// Text of a driver may be anything; JSON wants UTF-8.
static json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    return string ? string : json_string("?");
}

static int print_json(const hsd_device_info *devices, int n)
{
    json_t *array = json_array();
    for (int i = 0; array && i < n; i++) {
        const hsd_device_info *d = &devices[i];
        json_t *item = json_pack(
            "{s:s, s:s, s:o, s:o, s:I, s:i, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f}", "id",
            d->id, "type", d->type, "name", json_text(d->name), "driver", json_text(d->driver),
            "memory_bytes", (json_int_t)d->memory_bytes, "n_units", d->n_units, "pci", d->pci,
            "uuid", d->uuid, "features", d->features, "unusable", d->unusable, "read_gbps",
            d->read_gbps, "f32_gops", d->f32_gops, "f16_gops", d->f16_gops, "int8_gops",
            d->int8_gops, "launch_us", d->launch_us);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return cli_print_json(json_pack("{s:o}", "devices", array));
}

static int print_table(const hsd_device_info *devices, int n)
{
    cli_outf("%-12s %-11s %5s %10s %9s %21s  %s\n", "device", "type", "units", "memory", "reads",
             "Gop/s f32, f16, int8", "name, driver");
    for (int i = 0; i < n; i++) {
        const hsd_device_info *d = &devices[i];
        char reads[16] = "-", computes[64] = "-";
        if (d->read_gbps > 0.0) {
            snprintf(reads, sizeof reads, "%.1f GB/s", d->read_gbps);
            snprintf(computes, sizeof computes, "%.3g %.3g %.3g", d->f32_gops, d->f16_gops,
                     d->int8_gops);
        }
        cli_outf("%-12s %-11s %5d %7.1f GB %9s %21s  %s, %s", d->id, d->type, d->n_units,
                 (double)d->memory_bytes / 1e9, reads, computes, d->name, d->driver);
        // What only some devices say.
        const char *const more[] = {d->features, d->pci, d->unusable};
        for (size_t k = 0; k < sizeof more / sizeof *more; k++) {
            cli_outf("%s%s", more[k][0] ? "; " : "", more[k]);
        }
        cli_outf("\n");
    }
    return cli_close_stdout();
}

int cli_devices(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    devices_options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    hsd_error err = cli_no_error();
    hsd_device_info *devices = calloc(MAX_DEVICES, sizeof *devices);
    int n = 0;
    if (!devices) {
        return cli_failf("devices: memory could not be allocated (ENOMEM)");
    }
    hsd_status status = hsd_device_list(devices, MAX_DEVICES, &n, &err);
    n = n < MAX_DEVICES ? n : MAX_DEVICES;
    for (int i = 0; i < n && status == HSD_OK && o.measure; i++) {
        if (!devices[i].unusable[0]) {
            status = hsd_device_measure(&devices[i], &err);
        }
    }
    int code = status != HSD_OK ? cli_fail(status, &err)
               : o.json         ? print_json(devices, n)
                                : print_table(devices, n);
    free(devices);
    return code;
}
