/// Products of one and of eight rows beside the bandwidth of plain reading, on any device.
#include "engine/engine_internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "devices/keep.h"
#include "topology/cores.h"
#include "topology/discover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_IN = 2048, N_OUT = 5632, MANY = 8, SMALL = 16, RATE_ROWS = 64, N_RATE_REPEATS = 5 };
/// Several times what caches hold.
static const size_t size_wanted = (size_t)192 << 20;

static const hsdi_type types[HSD_KERNEL_TYPES] = {
    HSDI_TYPE_F32,  HSDI_TYPE_F16,  HSDI_TYPE_BF16, HSDI_TYPE_Q8_0,
    HSDI_TYPE_Q4_0, HSDI_TYPE_Q4_K, HSDI_TYPE_Q5_K, HSDI_TYPE_Q6_K,
};

/// A graph of one operation and its buffers.
typedef struct rig {
    hsdi_device *device;
    hsdi_weight *weight;
    hsdi_buffer *in, *out;
    hsdi_graph *graph;
} rig;

static void rig_fini(rig *r)
{
    hsdi_graph_destroy(&r->graph);
    hsdi_buffer_destroy(&r->in);
    hsdi_buffer_destroy(&r->out);
    hsdi_weight_destroy(&r->weight);
}

/// y = x W^T, or a copy without a weight.
static hsd_status rig_init(rig *r, int n_rows, int n_in, int n_out, hsd_error *err)
{
    const hsdi_op op = {.kind = r->weight ? HSDI_OP_MATMUL : HSDI_OP_COPY,
                        .x = {.value = HSDI_VALUE_IN, .width = n_in},
                        .y = {.value = HSDI_VALUE_OUT, .width = n_out},
                        .n_parts = r->weight ? 1 : 0,
                        .parts = {{.w = r->weight}}};
    const hsdi_graph_desc desc = {.name = "kernels",
                                  .n_rows_max = n_rows,
                                  .in_width = n_in,
                                  .out_width = n_out,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = RATE_ROWS};
    hsd_status status = hsdi_buffer_create(r->device, n_rows, n_in, &r->in, err);
    if (status == HSD_OK) {
        status = hsdi_buffer_create(r->device, n_rows, n_out, &r->out, err);
    }
    if (status == HSD_OK) {
        status = hsdi_graph_compile(r->device, &desc, &r->graph, err);
    }
    float *x = status == HSD_OK ? hsdi_buffer_map(r->in) : NULL;
    for (int i = 0; x && i < n_rows * n_in; i++) {
        x[i] = (float)(i % 7 - 3) / 4.0f;
    }
    return status;
}

static hsd_status run(const rig *r, int n_rows, double *best_s, hsd_error *err)
{
    static const int32_t pos[RATE_ROWS];
    const hsdi_job job = {.n_rows = n_rows, .pos = pos, .in = r->in, .out = r->out};
    int64_t begin = hsdi_now_ns();
    hsd_status status = hsdi_graph_run(r->graph, &job, err);
    double seconds = (double)(hsdi_now_ns() - begin) * 1e-9;
    *best_s = *best_s == 0.0 || seconds < *best_s ? seconds : *best_s;
    return status;
}

static hsd_status measure_read(const rig *r, int n_repeats, double *best_gbps, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = 0; i < 2 * n_repeats && status == HSD_OK; i++) {
        int64_t begin = hsdi_now_ns();
        size_t n_bytes = 0;
        status = hsdi_weight_read(r->device, r->weight, i % 2, &n_bytes, err);
        double gbps = (double)n_bytes / (double)(hsdi_now_ns() - begin);
        *best_gbps = gbps > *best_gbps ? gbps : *best_gbps;
    }
    return status;
}

static hsd_status measure_type(hsdi_device *device, const hsdi_type_info *info, int n_repeats,
                               hsd_kernel_times *out, hsd_error *err)
{
    rig r = {.device = device};
    size_t row = (size_t)N_IN / (size_t)info->block_elems * (size_t)info->block_bytes;
    int n_out = (int)(size_wanted / row / N_OUT + 1) * N_OUT;
    double one = 0.0, many = 0.0;
    char *data = malloc(row * (size_t)n_out);
    if (!data) {
        return hsdi_fail(err, HSD_ENOMEM, "kernels", "%zu bytes", row * (size_t)n_out);
    }
    memset(data, 0x2c, row * (size_t)n_out); // an ordinary number in every type
    hsd_status status =
        hsdi_weight_create(device, info->type, n_out, N_IN, data, HSDI_USE_MATMUL, &r.weight, err);
    free(data);
    if (status == HSD_OK) {
        status = rig_init(&r, MANY, N_IN, n_out, err);
    }
    if (status == HSD_OK) {
        status = measure_read(&r, n_repeats, &out->read_gbps, err);
    }
    for (int i = 0; i < n_repeats && status == HSD_OK; i++) {
        status = run(&r, 1, &one, err);
        if (status == HSD_OK) {
            status = run(&r, MANY, &many, err);
        }
    }
    if (status == HSD_OK) {
        snprintf(out->types[out->n_types].type, sizeof out->types[0].type, "%s", info->name);
        out->types[out->n_types].gbps = (double)row * n_out / one * 1e-9;
        out->types[out->n_types++].rows8_cost = many / one;
    }
    rig_fini(&r);
    return status;
}

static hsd_status measure_launch(hsdi_device *device, int n_repeats, double *us, hsd_error *err)
{
    rig r = {.device = device};
    double best = 0.0;
    hsd_status status = rig_init(&r, 1, SMALL, SMALL, err);
    for (int i = 0; i < 100 * n_repeats && status == HSD_OK; i++) {
        status = run(&r, 1, &best, err);
    }
    rig_fini(&r);
    *us = best * 1e6;
    return status;
}

/// After everything else: taking times may cost time.
static hsd_status copy_times(hsdi_device *device, hsd_kernel_times *out, hsd_error *err)
{
    hsdi_device_time times[HSD_KERNEL_TIMES];
    hsd_kernel_times again = {.read_gbps = 0.0};
    hsd_error reason;
    if (hsdi_device_profile(device, true, &reason) != HSD_OK) {
        return HSD_OK; // it has no clock for us
    }
    hsd_status status = HSD_OK;
    for (int t = 0; t < HSD_KERNEL_TYPES && status == HSD_OK; t++) {
        status = measure_type(device, hsdi_type_find(types[t]), 1, &again, err);
    }
    int n = hsdi_device_times(device, times, HSD_KERNEL_TIMES);
    out->n_kernels = n < HSD_KERNEL_TIMES ? n : HSD_KERNEL_TIMES;
    for (int i = 0; i < out->n_kernels; i++) {
        memcpy(out->kernels[i].name, times[i].name, sizeof out->kernels[i].name);
        out->kernels[i].n = times[i].n;
        out->kernels[i].us = (double)times[i].ns / (double)times[i].n * 1e-3;
    }
    return status == HSD_OK ? hsdi_device_profile(device, false, err) : status;
}

hsd_status hsdi_measure_open(const char *name, int n_threads, hsdi_device **out, hsd_error *err)
{
    hsdi_place place;
    hsd_status status = hsdi_place_parse(name, "device", &place, err);
    hsdi_cores *cores = malloc(sizeof *cores);
    if (!cores) {
        return hsdi_fail(err, HSD_ENOMEM, "kernels", "core list");
    }
    if (status == HSD_OK && (status = hsdi_cores_discover(cores, err)) == HSD_OK) {
        const hsdi_log log = {0};
        int n_there = place.n_cpus > 0 ? place.n_cpus : cores->n_cores;
        int n = n_threads > 0 ? n_threads : n_there;
        status =
            hsdi_place_open(&place, n <= cores->n_cores ? cores->cpus : NULL, n, &log, out, err);
    }
    free(cores);
    return status;
}

hsd_status hsd_measure_kernels(const char *device, int n_threads, int n_repeats,
                               hsd_kernel_times *out, hsd_error *err)
{
    hsdi_device *d = NULL;
    if (!out || n_repeats < 1 || n_repeats > 1000 || n_threads < 0) {
        return hsdi_fail(err, HSD_EINVAL, "kernels", "%d repeats, %d threads", n_repeats,
                         n_threads);
    }
    *out = (hsd_kernel_times){.read_gbps = 0.0};
    hsd_status status = hsdi_measure_open(device, n_threads, &d, err);
    if (status != HSD_OK) {
        return status;
    }
    snprintf(out->device, sizeof out->device, "%s", hsdi_device_get_info(d)->name);
    for (int t = 0; t < HSD_KERNEL_TYPES && status == HSD_OK; t++) {
        status = measure_type(d, hsdi_type_find(types[t]), n_repeats, out, err);
    }
    if (status == HSD_OK) {
        status = measure_launch(d, n_repeats, &out->launch_us, err);
    }
    if (status == HSD_OK) {
        status = copy_times(d, out, err);
    }
    hsdi_device_close(&d);
    return status;
}

// ---- speed of a device, kept ----

enum { N_RATES = 3, KEY_CHARS = 640 };

static const char speed_kind[] = "speed";

/// What hsd_device_measure keeps.
typedef struct speed {
    double read_gbps, gops[N_RATES], launch_us;
} speed;

/// Hardware and drivers: on a machine that was changed, or another one with the same home folder,
/// a device counts as not measured. A set of processors is named by its id.
static void speed_key(const hsd_device_info *device, uint64_t hardware, char *out, size_t cap)
{
    bool is_set = strncmp(device->id, "cpu:", 4) == 0;
    snprintf(out, cap, "%s\n%s\n%s\n%d units\nhardware %016" PRIx64 "\nhsd %s",
             is_set ? device->id : "", device->name, device->driver, device->n_units, hardware,
             hsd_version());
}

static void take_speed(hsd_device_info *device, const speed *s)
{
    device->read_gbps = s->read_gbps;
    device->f32_gops = s->gops[0];
    device->f16_gops = s->gops[1];
    device->int8_gops = s->gops[2];
    device->launch_us = s->launch_us;
}

void hsdi_device_recall(hsd_device_info *device, uint64_t hardware)
{
    char key[KEY_CHARS];
    void *data = NULL;
    size_t n_bytes = 0;
    speed_key(device, hardware, key, sizeof key);
    if (hsdi_keep_read(speed_kind, key, &data, &n_bytes) && n_bytes == sizeof(speed)) {
        take_speed(device, data);
    }
    free(data);
}

/// Operations per second of a product that a cache may hold: computing, not reading, is what
/// counts.
static hsd_status measure_rate(hsdi_device *device, const hsdi_type_info *info, double *gops,
                               hsd_error *err)
{
    rig r = {.device = device};
    size_t row = (size_t)N_IN / (size_t)info->block_elems * (size_t)info->block_bytes;
    double best = 0.0;
    char *data = malloc(row * N_OUT);
    if (!data) {
        return hsdi_fail(err, HSD_ENOMEM, "kernels", "%zu bytes", row * N_OUT);
    }
    memset(data, 0x2c, row * N_OUT);
    hsd_status status =
        hsdi_weight_create(device, info->type, N_OUT, N_IN, data, HSDI_USE_MATMUL, &r.weight, err);
    free(data);
    if (status == HSD_OK) {
        status = rig_init(&r, RATE_ROWS, N_IN, N_OUT, err);
    }
    for (int i = 0; i < N_RATE_REPEATS && status == HSD_OK; i++) {
        status = run(&r, RATE_ROWS, &best, err);
    }
    rig_fini(&r);
    *gops = status == HSD_OK ? 2e-9 * N_IN * N_OUT * RATE_ROWS / best : 0.0;
    return status;
}

static hsd_status measure_speed(hsdi_device *device, speed *out, hsd_error *err)
{
    static const hsdi_type rates[N_RATES] = {HSDI_TYPE_F32, HSDI_TYPE_F16, HSDI_TYPE_Q8_0};
    rig r = {.device = device};
    size_t row = (size_t)N_IN * sizeof(float);
    int n_out = (int)(size_wanted / row);
    char *data = malloc(size_wanted);
    if (!data) {
        return hsdi_fail(err, HSD_ENOMEM, "kernels", "%zu bytes", size_wanted);
    }
    memset(data, 0x2c, size_wanted);
    hsd_status status = hsdi_weight_create(device, HSDI_TYPE_F32, n_out, N_IN, data,
                                           HSDI_USE_MATMUL, &r.weight, err);
    free(data);
    if (status == HSD_OK) {
        status = measure_read(&r, N_RATE_REPEATS, &out->read_gbps, err);
    }
    rig_fini(&r);
    for (int i = 0; i < N_RATES && status == HSD_OK; i++) {
        status = measure_rate(device, hsdi_type_find(rates[i]), &out->gops[i], err);
    }
    return status == HSD_OK ? measure_launch(device, 1, &out->launch_us, err) : status;
}

hsd_status hsd_device_measure(hsd_device_info *device, hsd_error *err)
{
    hsdi_device *d = NULL;
    speed found = {0};
    char key[KEY_CHARS];
    if (!device) {
        return hsdi_fail(err, HSD_EINVAL, "device", "a device of hsd_device_list is required");
    }
    hsd_status status = hsdi_measure_open(device->id, 0, &d, err);
    if (status == HSD_OK) {
        status = measure_speed(d, &found, err);
    }
    hsdi_device_close(&d);
    if (status != HSD_OK) {
        return status;
    }
    take_speed(device, &found);
    speed_key(device, hsdi_discover_fingerprint(), key, sizeof key);
    return hsdi_keep_write(speed_kind, key, &found, sizeof found, err);
}
