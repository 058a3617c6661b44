/// Proves: for every model of the fixtures (all tensor types, all architectures), rows of random
///           texts of several caches in one submission have the logits that each job has alone,
///           bit for bit, in one graph and cut in three with the hidden rows between.
/// Does not prove: who puts the jobs together, see test_combiner.c.
#include "base/rng.h"
#include "tests/engine/fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TEXTS = 6, N_CELLS = 48, N_REPEATS = 6, ROWS_MAX = 12 };

/// A text with a cache of its own, whose position p lies in cell cells[p].
typedef struct text {
    hsdi_cache *cache;
    hsdi_buffer *hidden, *later, *logits;
    int32_t tokens[N_CELLS], pos[N_CELLS], cells[N_CELLS];
    int32_t path[ROWS_MAX * ROWS_MAX], n_path[ROWS_MAX];
    float *want; ///< [ROWS_MAX, n_vocab]
} text;

typedef struct graphs {
    hsdi_graph *fill, *full, *prefix, *middle, *suffix;
} graphs;

static int n_cells; ///< of each text, at most N_CELLS and the model's context
static uint64_t seed;
static int64_t n_drawn;

static int draw(int low, int high)
{
    return low + (int)(hsdi_uniform_at(seed, n_drawn++, 0) * (high - low + 1));
}

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static void compile(fixture *f, graphs *g)
{
    hsd_error err = {0};
    hsdi_graph_range all = {.end = f->model->n_layers,
                            .from_tokens = true,
                            .n_rows_max = HSDI_STAGE_ROWS,
                            .n_ctx = f->n_ctx};
    hsdi_graph_range fill = all, full = all, prefix = all, middle = all, suffix = all;
    fill.fill_only = true;
    full.head = suffix.head = true;
    prefix.end = middle.begin = f->model->n_layers / 3;
    middle.end = suffix.begin = f->model->n_layers * 2 / 3;
    middle.from_tokens = suffix.from_tokens = false;
    must(hsdi_runner_graph(&f->runner, fill, &g->fill, &err), &err);
    must(hsdi_runner_graph(&f->runner, full, &g->full, &err), &err);
    must(hsdi_runner_graph(&f->runner, prefix, &g->prefix, &err), &err);
    must(hsdi_runner_graph(&f->runner, middle, &g->middle, &err), &err);
    must(hsdi_runner_graph(&f->runner, suffix, &g->suffix, &err), &err);
}

/// n rows of a text from position `begin`.
static hsdi_job job_of(text *t, int begin, int n)
{
    for (int r = 0; r < n; r++) {
        t->n_path[r] = r + 1;
        memcpy(t->path + (size_t)r * ROWS_MAX, t->cells + begin, (size_t)(r + 1) * sizeof *t->path);
    }
    return (hsdi_job){.n_rows = n,
                      .tokens = t->tokens + begin,
                      .pos = t->pos + begin,
                      .cell = t->cells + begin,
                      .trunk = t->cells,
                      .n_trunk = begin,
                      .path = t->path,
                      .n_path = t->n_path,
                      .path_stride = ROWS_MAX,
                      .cache = t->cache};
}

static void text_open(text *t, fixture *f, const graphs *g)
{
    const hsdi_model *m = f->model;
    hsd_error err = {0};
    int shift = draw(0, n_cells - 1);
    const hsdi_cache_desc cells = {
        .n_layers = m->n_layers, .n_cells = n_cells, .width = m->n_kv * m->d_head};
    must(hsdi_cache_create(f->device, &cells, &t->cache, &err), &err);
    must(hsdi_buffer_create(f->device, ROWS_MAX, m->n_embd, &t->hidden, &err), &err);
    must(hsdi_buffer_create(f->device, ROWS_MAX, m->n_embd, &t->later, &err), &err);
    must(hsdi_buffer_create(f->device, ROWS_MAX, m->n_vocab, &t->logits, &err), &err);
    t->want = calloc((size_t)ROWS_MAX * (size_t)m->n_vocab, sizeof *t->want);
    for (int i = 0; i < n_cells; i++) {
        t->tokens[i] = draw(0, m->n_vocab - 1);
        t->pos[i] = i;
        t->cells[i] = (i * 5 + shift) % n_cells; // both sizes are no multiple of 5
    }
    for (int i = 0; i < n_cells; i += ROWS_MAX) {
        hsdi_job job = job_of(t, i, n_cells - i < ROWS_MAX ? n_cells - i : ROWS_MAX);
        must(hsdi_graph_run(g->fill, &job, &err), &err);
    }
}

static void text_close(text *t)
{
    hsdi_cache_destroy(&t->cache);
    hsdi_buffer_destroy(&t->hidden);
    hsdi_buffer_destroy(&t->later);
    hsdi_buffer_destroy(&t->logits);
    free(t->want);
}

/// Jobs of random rows of a random number of texts; each has run alone, in one graph.
static int draw_jobs(text *texts, const fixture *f, const graphs *g, hsdi_job *jobs)
{
    int n_jobs = draw(2, N_TEXTS);
    hsd_error err = {0};
    for (int i = 0; i < n_jobs; i++) {
        text *t = &texts[i];
        int n = draw(1, draw(1, ROWS_MAX - 1));
        n = n * n_jobs > HSDI_STAGE_ROWS ? HSDI_STAGE_ROWS / n_jobs : n;
        jobs[i] = job_of(t, draw(0, n_cells - n), n);
        jobs[i].out = t->logits;
        must(hsdi_graph_run(g->full, &jobs[i], &err), &err);
        size_t size = (size_t)n * (size_t)f->model->n_vocab * sizeof(float);
        memcpy(t->want, hsdi_buffer_map(t->logits), size);
        memset(hsdi_buffer_map(t->logits), 0xff, size);
    }
    return n_jobs;
}

static void compare(text *texts, const fixture *f, const hsdi_job *jobs, int n_jobs,
                    const char *what)
{
    for (int i = 0; i < n_jobs; i++) {
        float *got = hsdi_buffer_map(texts[i].logits);
        size_t n = (size_t)jobs[i].n_rows * (size_t)f->model->n_vocab, k = 0;
        while (k < n && memcmp(&got[k], &texts[i].want[k], sizeof *got) == 0) {
            k++;
        }
        if (k < n) {
            fail_msg("%s, seed %llu: job %d of %d, %d rows at %d: logit %zu is %.9g, alone %.9g",
                     what, (unsigned long long)seed, i, n_jobs, jobs[i].n_rows, jobs[i].n_trunk, k,
                     (double)got[k], (double)texts[i].want[k]);
        }
        memset(got, 0xff, n * sizeof *got);
    }
}

static void run_in_three(const graphs *g, text *texts, hsdi_job *jobs, int n_jobs)
{
    hsd_error err = {0};
    for (int i = 0; i < n_jobs; i++) {
        jobs[i].out = texts[i].hidden;
    }
    must(hsdi_graph_run_all(g->prefix, jobs, n_jobs, &err), &err);
    for (int i = 0; i < n_jobs; i++) {
        jobs[i].in = texts[i].hidden;
        jobs[i].out = texts[i].later;
    }
    must(hsdi_graph_run_all(g->middle, jobs, n_jobs, &err), &err);
    for (int i = 0; i < n_jobs; i++) {
        jobs[i].in = texts[i].later;
        jobs[i].out = texts[i].logits;
    }
    must(hsdi_graph_run_all(g->suffix, jobs, n_jobs, &err), &err);
}

static void compare_model(const char *path, int n_threads)
{
    fixture f;
    graphs g;
    text texts[N_TEXTS];
    fixture_open(&f, path, hsdi_isa_detect(), n_threads, 0);
    n_cells = f.n_ctx < N_CELLS ? f.n_ctx : N_CELLS;
    assert_true(n_cells > 2 * ROWS_MAX && n_cells % 5 != 0);
    compile(&f, &g);
    for (int i = 0; i < N_TEXTS; i++) {
        text_open(&texts[i], &f, &g);
    }
    for (int repeat = 0; repeat < N_REPEATS; repeat++) {
        hsdi_job jobs[N_TEXTS];
        hsd_error err = {0};
        int n_jobs = draw_jobs(texts, &f, &g, jobs);
        must(hsdi_graph_run_all(g.full, jobs, n_jobs, &err), &err);
        compare(texts, &f, jobs, n_jobs, path);
        run_in_three(&g, texts, jobs, n_jobs);
        compare(texts, &f, jobs, n_jobs, path);
    }
    for (int i = 0; i < N_TEXTS; i++) {
        text_close(&texts[i]);
    }
    fixture_close(&f);
}

static void rows_of_several_caches_have_the_logits_of_each_alone(void **state)
{
    (void)state;
    static const char folder[] = "tests/reference/fixtures";
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n_models = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[512];
        const char *end = strrchr(entry->d_name, '.');
        if (end && strcmp(end, ".gguf") == 0) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            seed++;
            compare_model(path, 1 + n_models % 3);
            n_models++;
        }
    }
    closedir(dir);
    assert_true(n_models >= 10);
    compare_model("models/hsd-story-target.gguf", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_several_caches_have_the_logits_of_each_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
