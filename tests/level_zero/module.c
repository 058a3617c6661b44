/// Modules from SPIR-V, their kernels and arguments.
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// A native binary is the SPIR-V behind this mark.
static const char native_mark[8] = "HSDZEN1";

static void set_log(ze_context_handle_t context, ze_module_build_log_handle_t *out, char *text)
{
    if (out) {
        ze_module_build_log_handle_t log = calloc(1, sizeof *log);
        if (log) {
            *log = (struct _ze_module_build_log_handle_t){LZ_LOG, context, text};
            lz_born(context, LZ_LOG);
            *out = log;
            return;
        }
    }
    free(text);
}

static char *program_log(cl_program program)
{
    size_t n = 0;
    (void)lz.cl->clGetProgramBuildInfo(program, lz.device, CL_PROGRAM_BUILD_LOG, 0, NULL, &n);
    char *text = calloc(n + 1, 1);
    if (text) {
        (void)lz.cl->clGetProgramBuildInfo(program, lz.device, CL_PROGRAM_BUILD_LOG, n, text, NULL);
    }
    return text;
}

/// SPIR-V to a program of PoCL. On failure `log` is what the translator or the compiler said.
static ze_result_t build(ze_module_handle_t m, char **log)
{
    size_t n_bitcode = 0;
    cl_int code, state;
    pthread_mutex_lock(&lz.lock);
    bool spoil = lz.faults.fail_build;
    pthread_mutex_unlock(&lz.lock);
    if (spoil) { // injected: a version of SPIR-V yet to come; failure and log are the translator's
        const uint32_t version = 0x00090000;
        memcpy(m->code + sizeof version, &version, sizeof version);
    }
    unsigned char *bitcode = lz_translate(m->code, m->n_code, &n_bitcode, log);
    if (!bitcode) {
        return ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
    }
    const unsigned char *binary = bitcode;
    m->program = lz.cl->clCreateProgramWithBinary(lz.context, 1, &lz.device, &n_bitcode, &binary,
                                                  &state, &code);
    free(bitcode);
    if (code == CL_SUCCESS) {
        code =
            lz.cl->clBuildProgram(m->program, 1, &lz.device, "-x spir -spir-std=1.2", NULL, NULL);
    }
    *log = m->program ? program_log(m->program) : strdup("PoCL refused the translated module");
    return code == CL_SUCCESS ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
}

static void module_free(ze_module_handle_t m)
{
    if (m->program) {
        (void)lz.cl->clReleaseProgram(m->program);
    }
    lz_spirv_free(&m->spirv);
    free(m->code);
    m->kind = 0;
    free(m);
}

/// The SPIR-V inside a description, or the error it has.
static ze_result_t check_module(const ze_module_desc_t *desc, const uint8_t **code, size_t *n)
{
    *code = desc->pInputModule;
    *n = desc->inputSize;
    if (!*code) {
        return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
    }
    if (*n == 0) {
        return ZE_RESULT_ERROR_INVALID_SIZE;
    }
    if (desc->pConstants && desc->pConstants->numConstants > 0) {
        return ZE_RESULT_ERROR_UNSUPPORTED_FEATURE;
    }
    if (desc->format == ZE_MODULE_FORMAT_NATIVE) {
        if (*n < sizeof native_mark || memcmp(*code, native_mark, sizeof native_mark) != 0) {
            return ZE_RESULT_ERROR_INVALID_NATIVE_BINARY;
        }
        *code += sizeof native_mark;
        *n -= sizeof native_mark;
        return ZE_RESULT_SUCCESS;
    }
    return desc->format == ZE_MODULE_FORMAT_IL_SPIRV ? ZE_RESULT_SUCCESS
                                                     : ZE_RESULT_ERROR_UNSUPPORTED_ENUMERATION;
}

ze_result_t ZE_APICALL zeModuleCreate(ze_context_handle_t context, ze_device_handle_t device,
                                      const ze_module_desc_t *desc, ze_module_handle_t *out,
                                      ze_module_build_log_handle_t *build_log)
{
    const uint8_t *code;
    size_t n_code;
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    *out = NULL;
    if (build_log) {
        *build_log = NULL;
    }
    ze_result_t result = check_module(desc, &code, &n_code);
    if (result != ZE_RESULT_SUCCESS) {
        return result;
    }
    if (device->npu) { // takes networks, by the graph extension only
        return ZE_RESULT_ERROR_UNSUPPORTED_FEATURE;
    }
    if (lz_is_lost()) {
        return ZE_RESULT_ERROR_DEVICE_LOST;
    }
    result = lz_opencl();
    if (result != ZE_RESULT_SUCCESS) {
        return result;
    }
    ze_module_handle_t m = calloc(1, sizeof *m);
    if (!m || !(m->code = malloc(n_code))) {
        free(m);
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    m->context = context;
    m->device = device;
    m->n_code = n_code;
    memcpy(m->code, code, n_code);
    char *log = NULL;
    if (lz_spirv_read(&m->spirv, m->code, n_code)) {
        result = build(m, &log);
    } else {
        result = ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
        log = strdup("no SPIR-V module of kernels, of version 1.2 at most");
    }
    set_log(context, build_log, log);
    if (result != ZE_RESULT_SUCCESS) {
        module_free(m);
        return result;
    }
    m->kind = LZ_MODULE;
    lz_born(context, LZ_MODULE);
    *out = m;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeModuleDestroy(ze_module_handle_t m)
{
    LZ_HANDLE(m, LZ_MODULE);
    pthread_mutex_lock(&lz.lock);
    int n_kernels = m->n_kernels;
    pthread_mutex_unlock(&lz.lock);
    if (n_kernels > 0) {
        return ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE;
    }
    lz_died(m->context, LZ_MODULE);
    module_free(m);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeModuleBuildLogGetString(ze_module_build_log_handle_t log, size_t *size,
                                                 char *out)
{
    LZ_HANDLE(log, LZ_LOG);
    LZ_POINTER_ARG(size);
    const char *text = log->text ? log->text : "";
    size_t n = strlen(text) + 1;
    if (out && *size > 0) {
        snprintf(out, *size, "%s", text);
    }
    *size = n;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeModuleBuildLogDestroy(ze_module_build_log_handle_t log)
{
    LZ_HANDLE(log, LZ_LOG);
    lz_died(log->context, LZ_LOG);
    log->kind = 0;
    free(log->text);
    free(log);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeModuleGetNativeBinary(ze_module_handle_t m, size_t *size, uint8_t *out)
{
    LZ_HANDLE(m, LZ_MODULE);
    LZ_POINTER_ARG(size);
    size_t n = sizeof native_mark + m->n_code;
    if (out && *size < n) {
        return ZE_RESULT_ERROR_INVALID_SIZE;
    }
    if (out) {
        memcpy(out, native_mark, sizeof native_mark);
        memcpy(out + sizeof native_mark, m->code, m->n_code);
    }
    *size = n;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeModuleGetKernelNames(ze_module_handle_t m, uint32_t *count,
                                              const char **names)
{
    LZ_HANDLE(m, LZ_MODULE);
    LZ_POINTER_ARG(count);
    uint32_t there = (uint32_t)m->spirv.n_entries;
    for (uint32_t i = 0; i < *count && i < there && names; i++) {
        names[i] = m->spirv.entries[i].name;
    }
    *count = *count == 0 || *count > there ? there : *count;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeModuleGetProperties(ze_module_handle_t m, ze_module_properties_t *out)
{
    LZ_HANDLE(m, LZ_MODULE);
    LZ_POINTER_ARG(out);
    out->flags = 0;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeKernelCreate(ze_module_handle_t m, const ze_kernel_desc_t *desc,
                                      ze_kernel_handle_t *out)
{
    const lz_entry *entry = NULL;
    LZ_HANDLE(m, LZ_MODULE);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(desc->pKernelName);
    LZ_POINTER_ARG(out);
    for (int i = 0; i < m->spirv.n_entries; i++) {
        if (strcmp(m->spirv.entries[i].name, desc->pKernelName) == 0) {
            entry = &m->spirv.entries[i];
        }
    }
    if (!entry) {
        return ZE_RESULT_ERROR_INVALID_KERNEL_NAME;
    }
    ze_kernel_handle_t k = calloc(1, sizeof *k);
    cl_int code = CL_SUCCESS;
    if (!k || !(k->args = calloc((size_t)entry->n_params + 1, sizeof *k->args))) {
        free(k);
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    k->kernel = lz.cl->clCreateKernel(m->program, entry->name, &code);
    if (code != CL_SUCCESS) {
        free(k->args);
        free(k);
        return ZE_RESULT_ERROR_UNKNOWN;
    }
    k->kind = LZ_KERNEL;
    k->module = m;
    k->entry = entry;
    for (int i = 0; i < 3; i++) {
        k->group[i] = entry->group[0] ? entry->group[i] : 1;
    }
    lz_born(m->context, LZ_KERNEL);
    pthread_mutex_lock(&lz.lock);
    m->n_kernels++;
    pthread_mutex_unlock(&lz.lock);
    *out = k;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeKernelDestroy(ze_kernel_handle_t k)
{
    LZ_HANDLE(k, LZ_KERNEL);
    pthread_mutex_lock(&lz.cl_lock);
    (void)lz.cl->clReleaseKernel(k->kernel);
    pthread_mutex_unlock(&lz.cl_lock);
    lz_died(k->module->context, LZ_KERNEL);
    pthread_mutex_lock(&lz.lock);
    k->module->n_kernels--;
    pthread_mutex_unlock(&lz.lock);
    for (int i = 0; i < k->entry->n_params; i++) {
        free(k->args[i].large);
    }
    k->kind = 0;
    free(k->args);
    free(k);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeKernelSetGroupSize(ze_kernel_handle_t k, uint32_t x, uint32_t y,
                                            uint32_t z)
{
    LZ_HANDLE(k, LZ_KERNEL);
    const uint32_t *must = k->entry->group, size[3] = {x, y, z};
    if (x == 0 || y == 0 || z == 0 || x > LZ_MAX_GROUP || y > LZ_MAX_GROUP || z > 64 ||
        (uint64_t)x * y * z > LZ_MAX_GROUP) {
        return ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION;
    }
    if (must[0] && memcmp(must, size, sizeof size) != 0) {
        return ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION;
    }
    memcpy(k->group, size, sizeof size);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeKernelSuggestGroupSize(ze_kernel_handle_t k, uint32_t global_x,
                                                uint32_t global_y, uint32_t global_z, uint32_t *x,
                                                uint32_t *y, uint32_t *z)
{
    LZ_HANDLE(k, LZ_KERNEL);
    LZ_POINTER_ARG(x);
    LZ_POINTER_ARG(y);
    LZ_POINTER_ARG(z);
    if (global_x == 0 || global_y == 0 || global_z == 0) {
        return ZE_RESULT_ERROR_INVALID_GLOBAL_WIDTH_DIMENSION;
    }
    *x = k->entry->group[0];
    *y = k->entry->group[0] ? k->entry->group[1] : 1;
    *z = k->entry->group[0] ? k->entry->group[2] : 1;
    for (*x = *x ? *x : 64; !k->entry->group[0] && global_x % *x != 0;) {
        *x /= 2;
    }
    return ZE_RESULT_SUCCESS;
}

/// A pointer argument: NULL, or into memory of the context. Its bytes are the caller's address.
static ze_result_t check_pointer(const void *value)
{
    const void *p;
    memcpy(&p, value, sizeof p);
    pthread_mutex_lock(&lz.lock);
    bool known = !p || lz_find(p);
    pthread_mutex_unlock(&lz.lock);
    return known ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_INVALID_ARGUMENT;
}

ze_result_t ZE_APICALL zeKernelSetArgumentValue(ze_kernel_handle_t k, uint32_t index, size_t size,
                                                const void *value)
{
    LZ_HANDLE(k, LZ_KERNEL);
    if (index >= (uint32_t)k->entry->n_params) {
        return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX;
    }
    const lz_param *param = &k->entry->params[index];
    lz_arg *arg = &k->args[index];
    if (param->what == LZ_LOCAL) {
        if (value || size == 0 || size > 65536) {
            return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE;
        }
        *arg = (lz_arg){.set = true, .size = size};
        return ZE_RESULT_SUCCESS;
    }
    if (param->what == LZ_OTHER) {
        return ZE_RESULT_ERROR_UNSUPPORTED_FEATURE;
    }
    if (size != param->size) {
        return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE;
    }
    if (param->what == LZ_POINTER && value) {
        ze_result_t result = check_pointer(value);
        if (result != ZE_RESULT_SUCCESS) {
            return result;
        }
    } else if (!value && param->what == LZ_VALUE) {
        return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
    }
    void *large = size > sizeof arg->raw ? malloc(size) : NULL;
    if (size > sizeof arg->raw && !large) {
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    free(arg->large);
    *arg = (lz_arg){.set = true, .size = size, .large = large};
    if (value) {
        memcpy(large ? large : arg->raw, value, size);
    }
    return ZE_RESULT_SUCCESS;
}

/// Kernels that follow pointers in memory would meet addresses of device memory that fault.
ze_result_t ZE_APICALL zeKernelSetIndirectAccess(ze_kernel_handle_t k,
                                                 ze_kernel_indirect_access_flags_t flags)
{
    LZ_HANDLE(k, LZ_KERNEL);
    return flags & ZE_KERNEL_INDIRECT_ACCESS_FLAG_DEVICE ? ZE_RESULT_ERROR_UNSUPPORTED_FEATURE
                                                         : ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeKernelSetCacheConfig(ze_kernel_handle_t k, ze_cache_config_flags_t flags)
{
    (void)flags;
    LZ_HANDLE(k, LZ_KERNEL);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeKernelGetProperties(ze_kernel_handle_t k, ze_kernel_properties_t *out)
{
    LZ_HANDLE(k, LZ_KERNEL);
    LZ_POINTER_ARG(out);
    cl_ulong local = 0, private = 0;
    pthread_mutex_lock(&lz.cl_lock);
    (void)lz.cl->clGetKernelWorkGroupInfo(k->kernel, lz.device, CL_KERNEL_LOCAL_MEM_SIZE,
                                          sizeof local, &local, NULL);
    (void)lz.cl->clGetKernelWorkGroupInfo(k->kernel, lz.device, CL_KERNEL_PRIVATE_MEM_SIZE,
                                          sizeof private, &private, NULL);
    pthread_mutex_unlock(&lz.cl_lock);
    *out = (ze_kernel_properties_t){
        .stype = out->stype,
        .pNext = out->pNext,
        .numKernelArgs = (uint32_t)k->entry->n_params,
        .requiredGroupSizeX = k->entry->group[0],
        .requiredGroupSizeY = k->entry->group[1],
        .requiredGroupSizeZ = k->entry->group[2],
        .localMemSize = (uint32_t)local,
        .privateMemSize = (uint32_t) private,
    };
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeKernelGetName(ze_kernel_handle_t k, size_t *size, char *name)
{
    LZ_HANDLE(k, LZ_KERNEL);
    LZ_POINTER_ARG(size);
    if (name && *size > 0) {
        snprintf(name, *size, "%s", k->entry->name);
    }
    *size = strlen(k->entry->name) + 1;
    return ZE_RESULT_SUCCESS;
}
