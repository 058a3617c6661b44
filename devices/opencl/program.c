/// Compiling the kernels for a device, or taking what an earlier run has compiled.
#include "devices/opencl/program.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "devices/keep.h"
#include "kernels/opencl/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_CHARS = 200, OPTION_CHARS = 640, KEY_CHARS = 2048 };

static hsd_status build_failed(const hsdi_ocl_device *ocl, cl_program program, cl_int code,
                               hsd_error *err)
{
    size_t n = 0;
    char *log = NULL;
    if (ocl->api->GetProgramBuildInfo(program, ocl->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) ==
        CL_SUCCESS) {
        log = calloc(n + 1, 1);
    }
    if (log) {
        (void)ocl->api->GetProgramBuildInfo(program, ocl->id, CL_PROGRAM_BUILD_LOG, n, log, NULL);
    }
    for (char *at = log; at && *at; at++) {
        *at = *at == '\n' || *at == '\r' ? ' ' : *at; // a message is one line
    }
    (void)hsdi_fail(err, HSD_EDEVICE, "clBuildProgram", "%s (%d): %.*s", hsdi_ocl_code_name(code),
                    (int)code, (int)LOG_CHARS, log && log[0] ? log : "no log");
    if (err) {
        err->vendor_code = code;
    }
    free(log);
    return HSD_EDEVICE;
}

/// What the device has for products, beside the tile itself.
static void write_features(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text, char *out,
                           size_t cap)
{
    const hsdi_ocl_features *f = &ocl->features;
    snprintf(out, cap, "%s%s%s%s",
             f->fp16      ? " -DHAS_FP16"
             : !f->is_cpu ? " -DLOADS_HALF"
                          : "",
             text->newest && f->dot ? " -DDOT_4X8=dot_4x8packed_ss_int" : "",
             text->newest && f->shuffles ? " -DSHUFFLE_XOR=sub_group_shuffle_xor" : "",
             text->newest && f->subgroup_16 ? " -DSUBGROUP_16" : "");
}

static void write_options(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text, char *out)
{
    char features[160];
    int version = ocl->features.version;
    const char *std = !text->newest || version < 20 ? "1.2" : version < 30 ? "2.0" : "3.0";
    write_features(ocl, text, features, sizeof features);
    // -w: on processors without AVX-512, PoCL's clang warns of each function with sixteen floats,
    // and PoCL writes their number to standard error. cmake/HsdSpirv.cmake compiles with all
    // warnings.
    snprintf(out, OPTION_CHARS,
             "-w -cl-std=CL%s -DGROUP=%d -DCHUNK=%d -DHEAD_ROWS=%d -DJOB_INTS=%d -DJOB_POS=%d "
             "-DJOB_CELL=%d "
             "-DJOB_TRUNK=%d "
             "-DJOB_N_TRUNK=%d "
             "-DJOB_PATH=%d -DJOB_N_PATH=%d -DJOB_DRAW=%d%s%s%s",
             std, HSDI_OPENCL_GROUP, HSDI_OPENCL_CHUNK, HSDI_OPENCL_HEAD_ROWS, HSDI_JOB_INTS,
             HSDI_JOB_POS, HSDI_JOB_CELL, HSDI_JOB_TRUNK, HSDI_JOB_N_TRUNK, HSDI_JOB_PATH,
             HSDI_JOB_N_PATH, HSDI_JOB_DRAW, features, text->defines ? " " : "",
             text->defines ? text->defines : "");
}

hsd_status hsdi_ocl_build(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text, cl_program *out,
                          hsd_error *err)
{
    char options[OPTION_CHARS];
    cl_int code;
    const char *source = text->source;
    write_options(ocl, text, options);
    cl_program program =
        ocl->api->CreateProgramWithSource(ocl->context, 1, &source, &text->n_bytes, &code);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clCreateProgramWithSource", code);
    }
    code = ocl->api->BuildProgram(program, 1, &ocl->id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        (void)build_failed(ocl, program, code, err);
        (void)ocl->api->ReleaseProgram(program);
        return HSD_EDEVICE;
    }
    *out = program;
    return HSD_OK;
}

// ---- what is kept ----

void hsdi_ocl_device_key(const hsdi_ocl_device *ocl, char *out, size_t cap)
{
    char name[256] = "", version[256] = "", driver[128] = "", platform[128] = "";
    char platform_version[256] = "";
    cl_platform_id id = NULL;
    (void)ocl->api->GetDeviceInfo(ocl->id, CL_DEVICE_NAME, sizeof name, name, NULL);
    (void)ocl->api->GetDeviceInfo(ocl->id, CL_DEVICE_VERSION, sizeof version, version, NULL);
    (void)ocl->api->GetDeviceInfo(ocl->id, CL_DRIVER_VERSION, sizeof driver, driver, NULL);
    (void)ocl->api->GetDeviceInfo(ocl->id, CL_DEVICE_PLATFORM, sizeof id, &id, NULL);
    (void)ocl->api->GetPlatformInfo(id, CL_PLATFORM_NAME, sizeof platform, platform, NULL);
    (void)ocl->api->GetPlatformInfo(id, CL_PLATFORM_VERSION, sizeof platform_version,
                                    platform_version, NULL);
    snprintf(out, cap, "%s\n%s\n%s\n%s\n%s\n", platform, platform_version, name, version, driver);
}

void hsdi_ocl_program_key(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text, char *out,
                          size_t cap)
{
    char options[OPTION_CHARS];
    write_options(ocl, text, options);
    hsdi_ocl_device_key(ocl, out, cap / 2);
    size_t n = strlen(out);
    snprintf(out + n, cap - n, "%s\n%016" PRIx64 "\n", options,
             hsdi_hash(HSDI_HASH_BEGIN, text->source, text->n_bytes));
}

/// The kept program, if the driver takes it.
static bool take_kept(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text, const char *key,
                      cl_program *out)
{
    void *data = NULL;
    size_t n_bytes = 0;
    cl_int code, own;
    char options[OPTION_CHARS];
    if (!hsdi_keep_read(HSDI_OCL_KEPT, key, &data, &n_bytes)) {
        return false;
    }
    const unsigned char *binary = data;
    write_options(ocl, text, options);
    cl_program program = ocl->api->CreateProgramWithBinary(ocl->context, 1, &ocl->id, &n_bytes,
                                                           &binary, &own, &code);
    free(data);
    if (code != CL_SUCCESS) {
        return false;
    }
    if (own != CL_SUCCESS ||
        ocl->api->BuildProgram(program, 1, &ocl->id, options, NULL, NULL) != CL_SUCCESS) {
        (void)ocl->api->ReleaseProgram(program);
        return false;
    }
    *out = program;
    return true;
}

/// HSD_OK also where the driver gives no binary.
static hsd_status keep(const hsdi_ocl_device *ocl, const char *key, cl_program program,
                       hsd_error *err)
{
    size_t n = 0;
    (void)ocl->api->GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL);
    unsigned char *binary = n > 0 ? malloc(n) : NULL;
    hsd_status status = HSD_OK;
    if (binary && ocl->api->GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary,
                                           NULL) == CL_SUCCESS) {
        status = hsdi_keep_write(HSDI_OCL_KEPT, key, binary, n, err);
    }
    free(binary);
    return status;
}

hsd_status hsdi_ocl_program(const hsdi_ocl_device *ocl, const hsdi_ocl_text *text, cl_program *out,
                            char *note, size_t cap, hsd_error *err)
{
    char key[KEY_CHARS];
    hsd_error reason = {0};
    int64_t begin = hsdi_now_ns();
    hsdi_ocl_program_key(ocl, text, key, sizeof key);
    if (take_kept(ocl, text, key, out)) {
        snprintf(note, cap, "kernels kept from an earlier run");
        return HSD_OK;
    }
    hsd_status status = hsdi_ocl_build(ocl, text, out, err);
    if (status == HSD_OK && keep(ocl, key, *out, &reason) == HSD_OK) {
        snprintf(note, cap, "kernels compiled in %.1f s", (double)(hsdi_now_ns() - begin) * 1e-9);
    } else if (status == HSD_OK) {
        snprintf(note, cap, "kernels compiled, not kept: %s: %s", reason.where, reason.message);
    }
    return status;
}

// ---- products ----

hsdi_ocl_text hsdi_ocl_common(void)
{
    return (hsdi_ocl_text){.source = (const char *)hsdi_opencl_source,
                           .n_bytes = hsdi_opencl_source_bytes};
}

static hsdi_ocl_product *find_product(hsdi_ocl_device *ocl, const char *name)
{
    hsdi_ocl_product *p = ocl->products;
    while (p && strcmp(p->name, name) != 0) {
        p = p->next;
    }
    return p;
}

static hsd_status make_product(hsdi_ocl_device *ocl, const char *name, const char *defines,
                               hsdi_ocl_product **out, hsd_error *err)
{
    char note[160];
    hsdi_ocl_product *p = calloc(1, sizeof *p);
    bool extended = strncmp(name, "subgroup", 8) == 0 || strncmp(name, "dot", 3) == 0;
    const hsdi_ocl_text text = {.source = (const char *)hsdi_opencl_products,
                                .n_bytes = hsdi_opencl_products_bytes,
                                .defines = defines,
                                .newest = extended};
    if (!p) {
        return hsdi_fail(err, HSD_ENOMEM, "kernel", "%s", name);
    }
    snprintf(p->name, sizeof p->name, "%s", name);
    hsd_status status = hsdi_ocl_program(ocl, &text, &p->program, note, sizeof note, err);
    if (status != HSD_OK) {
        free(p);
        return status;
    }
    p->next = ocl->products;
    ocl->products = p;
    *out = p;
    return HSD_OK;
}

hsd_status hsdi_ocl_product_get(hsdi_ocl_device *ocl, const char *name, const char *defines,
                                cl_program *out, hsd_error *err)
{
    hsd_status status = HSD_OK;
    pthread_mutex_lock(&ocl->lists);
    hsdi_ocl_product *p = find_product(ocl, name);
    if (!p) {
        status = make_product(ocl, name, defines, &p, err);
    }
    pthread_mutex_unlock(&ocl->lists);
    if (status == HSD_OK) {
        *out = p->program;
    }
    return status;
}

void hsdi_ocl_products_release(hsdi_ocl_device *ocl)
{
    hsdi_ocl_product *next;
    for (hsdi_ocl_product *p = ocl->products; p; p = next) {
        next = p->next;
        (void)ocl->api->ReleaseProgram(p->program);
        free(p);
    }
    ocl->products = NULL;
}
