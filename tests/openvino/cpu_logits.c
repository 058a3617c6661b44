/// The CPU device's logits for any rows, for comparison with networks elsewhere.
///
///     cpu_logits MODEL [--unpacked] <passes >logits
///
/// A pass is whitespace separated whole numbers: n_rows n_trunk, the trunk's cells, then for each
/// row: token position cell n_path, the path's cells (its own last). For each pass come the logits,
/// [n_rows, n_vocab] f32. With --unpacked every tensor is made F32 first, which is exact: then
/// activations are not rounded to 8 bits, as they are for quantised types.
#include "engine/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = HSDI_STAGE_ROWS, MAX_PATH = 64, MAX_CTX = 512 };

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fprintf(stderr, "cpu_logits: %s: %s\n", err->where, err->message);
        exit(1);
    }
}

/// The copy lives as long as the model.
static void unpack(hsdi_model *m, const hsdi_gguf_tensor **tensor)
{
    const hsdi_gguf_tensor *t = *tensor;
    if (!t) {
        return;
    }
    int64_t n = t->ne[0] * t->ne[1];
    hsdi_gguf_tensor *plain = hsdi_arena_alloc(&m->arena, sizeof *plain);
    float *data = hsdi_arena_array(&m->arena, (size_t)n, sizeof *data);
    if (!plain || !data) {
        exit(1);
    }
    hsdi_dequant_row((hsdi_type)t->type, t->data, n, data);
    *plain = *t;
    plain->type = HSDI_TYPE_F32;
    plain->data = data;
    *tensor = plain;
}

static void unpack_all(hsdi_model *m)
{
    unpack(m, &m->token_embd);
    unpack(m, &m->pos_embd);
    unpack(m, &m->output.w);
    for (int i = 0; i < m->n_layers; i++) {
        hsdi_layer *l = &m->layers[i];
        hsdi_linear *all[] = {&l->qkv,      &l->q,    &l->k,  &l->v,
                              &l->attn_out, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            unpack(m, &all[k]->w);
        }
    }
}

static int32_t number(void)
{
    int x;
    if (scanf("%d", &x) != 1) {
        fprintf(stderr, "cpu_logits: a number is missing\n");
        exit(1);
    }
    return x;
}

static int count(int most)
{
    int n = number();
    if (n < 0 || n > most) {
        fprintf(stderr, "cpu_logits: %d is not in 0..%d\n", n, most);
        exit(1);
    }
    return n;
}

static void pass(const hsdi_target_stage *stage, int n_rows, int n_vocab)
{
    static int32_t tokens[MAX_ROWS], pos[MAX_ROWS], cell[MAX_ROWS], n_path[MAX_ROWS], own[MAX_ROWS];
    static int32_t path[MAX_ROWS * MAX_PATH], trunk[MAX_CTX];
    hsd_error err;
    int n_trunk = count(MAX_CTX);
    for (int i = 0; i < n_trunk; i++) {
        trunk[i] = number();
    }
    for (int r = 0; r < n_rows; r++) {
        tokens[r] = number();
        pos[r] = number();
        cell[r] = number();
        n_path[r] = count(MAX_PATH);
        for (int i = 0; i < n_path[r]; i++) {
            path[r * MAX_PATH + i] = number();
        }
    }
    const hsdi_rows rows = {.n_rows = n_rows,
                            .tokens = tokens,
                            .pos = pos,
                            .cell = cell,
                            .trunk = trunk,
                            .n_trunk = n_trunk,
                            .path = path,
                            .n_path = n_path,
                            .path_stride = MAX_PATH};
    must(stage->prefix(stage->self, &rows, &err), &err);
    must(stage->suffix(stage->self, own, &err), &err);
    fwrite(hsdi_target_stage_logits(stage), sizeof(float), (size_t)n_rows * (size_t)n_vocab,
           stdout);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    hsd_error err;
    hsdi_device *device;
    hsdi_model *model;
    hsdi_weights *weights;
    hsdi_runner runner;
    hsdi_target_stage stage;
    if (argc < 2) {
        return 2;
    }
    const hsdi_cpu_options cpu = {.n_threads = 1, .isa = hsdi_isa_detect()};
    must(hsdi_device_open_cpu(&cpu, &device, &err), &err);
    must(hsdi_model_load(argv[1], &model, &err), &err);
    if (argc > 2 && strcmp(argv[2], "--unpacked") == 0) {
        unpack_all(model);
    }
    must(hsdi_weights_create(model, 0, model->n_layers, NULL, device, &weights, &err), &err);
    int n_ctx = hsdi_model_max_ctx(model) < MAX_CTX ? model->n_ctx : MAX_CTX;
    hsdi_runner_init(&runner, weights, device, hsdi_kernels_get(cpu.isa), n_ctx);
    const hsdi_target_stage_options how = {.n_cells = n_ctx, .sampling = {.top_p = 1.0f}};
    must(hsdi_target_stage_open(&runner, &how, &stage, &err), &err);
    for (int n_rows; scanf("%d", &n_rows) == 1 && n_rows > 0 && n_rows <= MAX_ROWS;) {
        pass(&stage, n_rows, model->n_vocab);
    }
    hsdi_target_stage_close(&stage);
    hsdi_runner_fini(&runner);
    hsdi_weights_destroy(&weights);
    hsdi_model_free(&model);
    hsdi_device_close(&device);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
