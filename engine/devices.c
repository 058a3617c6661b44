/// Devices by name: "cpu", "cpu:0-3", "opencl", "opencl:1".
#include "base/error.h"
#include "engine/engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_INDEX = 9999 };

/// What follows a prefix; NULL where the name begins otherwise.
static const char *behind(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

static bool parse_index(const char *digits, int *out)
{
    char *end = NULL;
    long index = *digits >= '0' && *digits <= '9' ? strtol(digits, &end, 10) : -1;
    *out = (int)index;
    return index >= 0 && index <= MAX_INDEX && !*end;
}

hsd_status hsdi_place_parse(const char *name, const char *option, hsdi_place *out, hsd_error *err)
{
    static const struct {
        const char *name;
        hsdi_place_kind kind;
    } kinds[] = {{"opencl", HSDI_PLACE_OPENCL}};
    *out = (hsdi_place){.kind = HSDI_PLACE_CPU, .index = -1};
    if (!name || strcmp(name, "cpu") == 0) {
        return HSD_OK;
    }
    const char *rest = behind(name, "cpu:");
    if (rest) {
        hsd_error detail;
        hsd_status status = hsdi_cores_parse(rest, out->cpus, &out->n_cpus, &detail);
        return status == HSD_OK ? HSD_OK : hsdi_fail(err, status, option, "%s", detail.message);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        out->kind = kinds[i].kind;
        rest = behind(name, kinds[i].name);
        if (rest && (!*rest || (*rest == ':' && parse_index(rest + 1, &out->index)))) {
            return HSD_OK;
        }
    }
    return hsdi_fail(err, HSD_EINVAL, option,
                     "\"%.64s\" is none of cpu, cpu:0-3, opencl, opencl:0, ..", name);
}

static void describe_cpu(const hsdi_cores *cores, hsd_device_info *out)
{
    *out = (hsd_device_info){.id = "cpu", .type = "cpu", .n_units = cores->n_cores};
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
}

hsd_status hsd_device_list(hsd_device_info *out, int cap, int *n_out, hsd_error *err)
{
    if (!n_out || cap < 0 || (cap > 0 && !out)) {
        return hsdi_fail(err, HSD_EINVAL, "devices", "room for %d and a count are required", cap);
    }
    size_t n_max = cap > 1 ? (size_t)cap - 1 : 1;
    hsdi_cores *cores = malloc(sizeof *cores);
    hsdi_opencl_info *found = calloc(n_max, sizeof *found);
    hsd_status status = cores && found ? hsdi_cores_discover(cores, err)
                                       : hsdi_fail(err, HSD_ENOMEM, "devices", "list");
    if (status == HSD_OK) {
        int n = 0;
        // That there is no OpenCL is no failure of a list: opening such a device says why.
        if (hsdi_opencl_list(found, (int)n_max, &n, NULL) != HSD_OK) {
            n = 0;
        }
        if (cap > 0) {
            describe_cpu(cores, &out[0]);
        }
        for (int i = 0; i < n && i + 1 < cap; i++) {
            describe_opencl(i, &found[i], &out[i + 1]);
        }
        *n_out = n + 1;
    }
    free(found);
    free(cores);
    return status;
}
