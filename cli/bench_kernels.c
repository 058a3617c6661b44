/// `hsd bench --kernels`: products beside the bandwidth of plain reading, per device.
#include "cli/bench.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 64 };

static void print(const char *id, const hsd_kernel_times *t)
{
    cli_outf("%s: %s\nreads %.1f GB/s; a graph costs %.1f us\n", id, t->device, t->read_gbps,
             t->launch_us);
    cli_outf("%-6s %12s %14s %22s\n", "type", "1 row, GB/s", "share of read",
             "8 rows cost as much as");
    for (int i = 0; i < t->n_types; i++) {
        cli_outf("%-6s %12.1f %12.0f %% %17.2f rows\n", t->types[i].type, t->types[i].gbps,
                 100 * t->types[i].gbps / t->read_gbps, t->types[i].rows8_cost);
    }
    for (int i = 0; i < t->n_kernels; i++) {
        cli_outf("%s%s %.0f us", i == 0 ? "by the device's clock: " : ", ", t->kernels[i].name,
                 t->kernels[i].us);
    }
    cli_outf("%s", t->n_kernels > 0 ? "\n\n" : "\n");
}

static json_t *object_of(const char *id, const hsd_kernel_times *t)
{
    json_t *types = json_array(), *kernels = json_array();
    for (int i = 0; i < t->n_types; i++) {
        (void)json_array_append_new(types, json_pack("{s:s, s:f, s:f, s:f}", "type",
                                                     t->types[i].type, "gbps", t->types[i].gbps,
                                                     "share", t->types[i].gbps / t->read_gbps,
                                                     "rows8_cost", t->types[i].rows8_cost));
    }
    for (int i = 0; i < t->n_kernels; i++) {
        (void)json_array_append_new(kernels,
                                    json_pack("{s:s, s:I, s:f}", "name", t->kernels[i].name, "n",
                                              (json_int_t)t->kernels[i].n, "us", t->kernels[i].us));
    }
    return json_pack("{s:s, s:s, s:f, s:f, s:o, s:o}", "device", id, "name", t->device, "read_gbps",
                     t->read_gbps, "launch_us", t->launch_us, "types", types, "kernels", kernels);
}

static int measure(const bench *b, const char *id, json_t *all)
{
    hsd_kernel_times times;
    hsd_error err = cli_no_error();
    hsd_status status = hsd_measure_kernels(id, b->g.engine.n_threads, b->n_repeats, &times, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    if (all) {
        return json_array_append_new(all, object_of(id, &times)) == 0
                   ? CLI_OK
                   : cli_failf("bench: memory could not be allocated (ENOMEM)");
    }
    print(id, &times);
    return CLI_OK;
}

static int measure_listed(const bench *b, json_t *all)
{
    hsd_error err = cli_no_error();
    int n = 0, code = CLI_OK;
    hsd_device_info *devices = calloc(MAX_DEVICES, sizeof *devices);
    if (!devices) {
        return cli_failf("bench: memory could not be allocated (ENOMEM)");
    }
    hsd_status status = hsd_device_list(devices, MAX_DEVICES, &n, &err);
    n = n < MAX_DEVICES ? n : MAX_DEVICES;
    code = status == HSD_OK ? CLI_OK : cli_fail(status, &err);
    for (int i = 0; i < n && code == CLI_OK; i++) {
        if (!devices[i].unusable[0]) {
            code = cli_interrupted() ? CLI_INTERRUPTED : measure(b, devices[i].id, all);
        }
    }
    free(devices);
    return code;
}

int bench_kernels(const bench *b)
{
    json_t *all = b->json ? json_array() : NULL;
    const char *device = b->g.engine.target_device;
    int code = device ? measure(b, device, all) : measure_listed(b, all);
    if (code != CLI_OK) {
        json_decref(all);
        return code;
    }
    return b->json ? cli_print_json(json_pack("{s:o}", "devices", all)) : cli_close_stdout();
}
