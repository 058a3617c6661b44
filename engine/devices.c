/// Devices by name: "cpu", "cpu:0-3", "opencl", "opencl:1", "level_zero".
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/machine.h"
#include "topology/discover.h"

#include <hsd/profile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_INDEX = 9999 };

static hsd_status open_opencl(const hsdi_place *place, hsdi_device **out, hsd_error *err)
{
    return hsdi_device_open_opencl_units(place->index, place->first_unit, place->n_units, out, err);
}

static hsd_status open_level_zero(const hsdi_place *place, hsdi_device **out, hsd_error *err)
{
    return place->n_units > 0 ? hsdi_fail(err, HSD_EUNSUPPORTED, "level_zero",
                                          "compute units cannot be chosen there")
                              : hsdi_device_open_level_zero(place->index, out, err);
}

static const struct {
    const char *name;
    hsd_status (*open)(const hsdi_place *place, hsdi_device **out, hsd_error *err);
} kinds[] = {
    {"opencl", open_opencl},
    {"level_zero", open_level_zero},
};

/// A number behind `before`. Moves *text behind it; false where there is none.
static bool parse_number(const char **text, char before, int *out)
{
    char *end = NULL;
    if ((*text)[0] != before || (*text)[1] < '0' || (*text)[1] > '9') {
        return false;
    }
    long n = strtol(*text + 1, &end, 10);
    *text = end;
    *out = (int)n;
    return n <= MAX_INDEX;
}

/// "", ":N", ":N/U" and ":N/U-V".
static bool parse_which(const char *text, hsdi_place *out)
{
    int last;
    if (*text && !parse_number(&text, ':', &out->index)) {
        return false;
    }
    if (out->index >= 0 && parse_number(&text, '/', &out->first_unit)) {
        last = out->first_unit;
        if (*text && !parse_number(&text, '-', &last)) {
            return false;
        }
        out->n_units = last - out->first_unit + 1;
        return !*text && out->n_units > 0;
    }
    return !*text;
}

hsd_status hsdi_place_parse(const char *name, const char *option, hsdi_place *out, hsd_error *err)
{
    *out = (hsdi_place){.index = -1};
    if (!name || strcmp(name, "cpu") == 0) {
        return HSD_OK;
    }
    if (strncmp(name, "cpu:", 4) == 0) {
        hsd_error detail;
        hsd_status status = hsdi_cores_parse(name + 4, out->cpus, &out->n_cpus, &detail);
        return status == HSD_OK ? HSD_OK : hsdi_fail(err, status, option, "%s", detail.message);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i].name);
        if (strncmp(name, kinds[i].name, n) == 0 && parse_which(name + n, out)) {
            out->open = kinds[i].open;
            return HSD_OK;
        }
    }
    return hsdi_fail(err, HSD_EINVAL, option,
                     "\"%.64s\" is none of cpu, cpu:0-3, opencl, opencl:0, .., level_zero, "
                     "level_zero:0, ..",
                     name);
}

hsd_status hsdi_place_open(const hsdi_place *place, const int *cpus, int n_threads,
                           const hsdi_log *log, hsdi_device **out, hsd_error *err)
{
    if (place->open) {
        hsd_status status = place->open(place, out, err);
        const hsdi_device_info *info = status == HSD_OK ? hsdi_device_get_info(*out) : NULL;
        if (info && info->note[0]) {
            hsdi_logf(log, HSDI_LOG_INFO, "%s: %s", info->name, info->note);
        }
        return status;
    }
    if (place->n_cpus > 0) {
        cpus = n_threads <= place->n_cpus ? place->cpus : NULL;
    }
    const hsdi_cpu_options options = {
        .cpus = cpus, .n_threads = n_threads, .isa = hsdi_isa_detect()};
    return hsdi_device_open_cpu(&options, out, err);
}

static void describe_cpu(const hsdi_cores *cores, hsd_device_info *out)
{
    *out = (hsd_device_info){
        .id = "cpu", .type = "cpu", .n_units = cores->n_cores, .shares_memory = true};
    snprintf(out->name, sizeof out->name, "kernels %s", hsdi_kernels_get(hsdi_isa_detect())->name);
    snprintf(out->driver, sizeof out->driver, "hsd %s", hsd_version());
    out->memory_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
}

static void describe_opencl(int index, const hsdi_opencl_info *info, hsd_device_info *out)
{
    *out = (hsd_device_info){.memory_bytes = info->memory_bytes, .n_units = info->n_units};
    snprintf(out->id, sizeof out->id, "opencl:%d", index);
    snprintf(out->type, sizeof out->type, "%s", info->type);
    memcpy(out->name, info->name, sizeof out->name);
    memcpy(out->driver, info->driver, sizeof out->driver);
    memcpy(out->pci, info->pci, sizeof out->pci);
    memcpy(out->features, info->features, sizeof out->features);
    out->shares_memory = info->shares_memory;
}

static void describe_level_zero(int index, const hsdi_level_zero_info *info, hsd_device_info *out)
{
    *out = (hsd_device_info){.memory_bytes = info->memory_bytes, .n_units = info->n_units};
    snprintf(out->id, sizeof out->id, "level_zero:%d", index);
    snprintf(out->type, sizeof out->type, "%s", info->type);
    memcpy(out->name, info->name, sizeof out->name);
    memcpy(out->driver, info->driver, sizeof out->driver);
    memcpy(out->pci, info->pci, sizeof out->pci);
    memcpy(out->uuid, info->uuid, sizeof out->uuid);
    memcpy(out->features, info->features, sizeof out->features);
    memcpy(out->unusable, info->unusable, sizeof out->unusable);
    out->shares_memory = info->shares_memory;
}

/// Devices of OpenCL and Level Zero behind the CPU. That there are none is no failure of a list:
/// opening such a device says why.
static hsd_status list_others(int skip, hsd_device_info *out, int cap, int *n_out, hsd_error *err)
{
    hsdi_opencl_info *opencl = calloc((size_t)cap + 1, sizeof *opencl);
    hsdi_level_zero_info *level_zero = calloc((size_t)cap + 1, sizeof *level_zero);
    int n_opencl = 0, n_level_zero = 0;
    if (opencl && level_zero) {
        if ((skip & HSD_PROFILE_SKIP_OPENCL) ||
            hsdi_opencl_list(opencl, cap, &n_opencl, NULL) != HSD_OK) {
            n_opencl = 0;
        }
        if ((skip & HSD_PROFILE_SKIP_LEVEL_ZERO) ||
            hsdi_level_zero_list(level_zero, cap, &n_level_zero, NULL) != HSD_OK) {
            n_level_zero = 0;
        }
        for (int i = 0; i < n_opencl && i < cap; i++) {
            describe_opencl(i, &opencl[i], &out[i]);
        }
        for (int i = 0; i < n_level_zero && n_opencl + i < cap; i++) {
            describe_level_zero(i, &level_zero[i], &out[n_opencl + i]);
        }
    }
    bool ok = opencl && level_zero;
    free(opencl);
    free(level_zero);
    *n_out = n_opencl + n_level_zero;
    return ok ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "devices", "list");
}

hsd_status hsdi_device_list(int skip, hsd_device_info *out, int cap, int *n_out, hsd_error *err)
{
    if (!n_out || cap < 0 || (cap > 0 && !out)) {
        return hsdi_fail(err, HSD_EINVAL, "devices", "room for %d and a count are required", cap);
    }
    hsdi_cores *cores = malloc(sizeof *cores);
    hsd_status status =
        cores ? hsdi_cores_discover(cores, err) : hsdi_fail(err, HSD_ENOMEM, "devices", "list");
    int n = 0;
    if (status == HSD_OK) {
        // With no room `out` may be NULL, and is not written to.
        status = list_others(skip, cap > 0 ? out + 1 : NULL, cap > 0 ? cap - 1 : 0, &n, err);
    }
    if (status == HSD_OK) {
        if (cap > 0) {
            describe_cpu(cores, &out[0]);
        }
        *n_out = n + 1;
        uint64_t hardware = hsdi_discover_fingerprint();
        for (int i = 0; i <= n && i < cap; i++) {
            hsdi_device_recall(&out[i], hardware);
        }
    }
    free(cores);
    return status;
}

hsd_status hsd_device_list(hsd_device_info *out, int cap, int *n_out, hsd_error *err)
{
    return hsdi_device_list(0, out, cap, n_out, err);
}

enum { N_DEVICES = 3 };

static void all_devices(const hsd_engine *e, hsdi_device *out[N_DEVICES])
{
    out[0] = e->target_device;
    out[1] = e->suffix_device;
    out[2] = e->draft_device;
}

void hsdi_engine_profile(hsd_engine *e)
{
    hsdi_device *devices[N_DEVICES];
    all_devices(e, devices);
    for (int i = 0; i < N_DEVICES; i++) {
        if (devices[i]) {
            // One that cannot has no times to log.
            hsd_status status = hsdi_device_profile(devices[i], true, NULL);
            (void)status;
        }
    }
}

void hsdi_engine_log_times(const hsd_engine *e)
{
    enum { MAX_TIMES = 64 };
    hsdi_device *devices[N_DEVICES];
    hsdi_device_time times[MAX_TIMES];
    all_devices(e, devices);
    for (int i = 0; i < N_DEVICES; i++) {
        int n = devices[i] ? hsdi_device_times(devices[i], times, MAX_TIMES) : 0;
        for (int k = 0; k < n && k < MAX_TIMES; k++) {
            hsdi_logf(&e->log, HSDI_LOG_INFO, "%s: %s, %lld launches, %.3f ms",
                      hsdi_device_get_info(devices[i])->name, times[k].name, (long long)times[k].n,
                      (double)times[k].ns / 1e6);
        }
    }
}
