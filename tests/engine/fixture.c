#include "tests/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

void fixture_open(fixture *f, const char *path, hsdi_isa isa, int n_threads, int exit_layer)
{
    hsd_error err = {0};
    hsdi_device *device = NULL;
    const hsdi_cpu_options cpu = {.n_threads = n_threads, .isa = isa};
    must(hsdi_device_open_cpu(&cpu, &device, &err), &err);
    fixture_open_on(f, path, device, isa, exit_layer);
}

void fixture_open_on(fixture *f, const char *path, hsdi_device *device, hsdi_isa isa,
                     int exit_layer)
{
    fixture_open_as(f, path, NULL, device, isa, exit_layer);
}

void fixture_open_as(fixture *f, const char *path, const hsdi_layout *layouts, hsdi_device *device,
                     hsdi_isa isa, int exit_layer)
{
    hsd_error err = {0};
    memset(f, 0, sizeof *f);
    f->device = device;
    must(hsdi_model_load(path, &f->model, &err), &err);
    must(
        hsdi_weights_create(f->model, 0, f->model->n_layers, layouts, f->device, &f->weights, &err),
        &err);
    f->n_ctx = hsdi_model_max_ctx(f->model) < 512 ? f->model->n_ctx : 512;
    hsdi_runner_init(&f->runner, f->weights, f->device, hsdi_kernels_get(isa), f->n_ctx);
    const hsdi_target_stage_options options = {.exit_layer = exit_layer,
                                               .n_cells = f->n_ctx,
                                               .with_logits = true,
                                               .sampling = {.top_p = 1.0f}};
    must(hsdi_target_stage_open(&f->runner, &options, &f->stage, &err), &err);
    f->cells = calloc((size_t)f->n_ctx, sizeof *f->cells);
    for (int i = 0; i < f->n_ctx; i++) {
        f->cells[i] = i;
    }
}

void fixture_close(fixture *f)
{
    hsdi_target_stage_close(&f->stage);
    hsdi_runner_fini(&f->runner);
    hsdi_weights_destroy(&f->weights);
    hsdi_model_free(&f->model);
    hsdi_device_close(&f->device);
    free(f->cells);
}

void fixture_pass(fixture *f, const int32_t *tokens, int pos, int n, int32_t *own, float *logits)
{
    hsd_error err = {0};
    int32_t n_path[HSDI_STAGE_ROWS];
    int32_t *path = calloc((size_t)n * (size_t)n, sizeof *path);
    for (int r = 0; r < n; r++) {
        n_path[r] = r + 1;
        memcpy(path + r * n, f->cells + pos, (size_t)(r + 1) * sizeof *path);
    }
    const hsdi_rows rows = {.n_rows = n,
                            .tokens = tokens,
                            .pos = f->cells + pos,
                            .cell = f->cells + pos,
                            .trunk = f->cells,
                            .n_trunk = pos,
                            .path = path,
                            .n_path = n_path,
                            .path_stride = n};
    must(f->stage.prefix(f->stage.self, &rows, &err), &err);
    must(f->stage.suffix(f->stage.self, own, &err), &err);
    if (logits) {
        memcpy(logits, hsdi_target_stage_logits(&f->stage),
               (size_t)n * (size_t)f->model->n_vocab * sizeof *logits);
    }
    free(path);
}

char *fixture_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = calloc((size_t)size + 1, 1);
    if (text && fread(text, 1, (size_t)size, file) != (size_t)size) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}
