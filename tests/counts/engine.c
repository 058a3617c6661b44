/// See loops.h.
#include "loops.h"

#include "base/rng.h"
#include "engine/sampler.h"
#include "tests/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_VOCAB = 4096, N_TOP = 8, N_PAST = 32 };

static const char TEXT[] =
    "Once there was a clockmaker who lived at the end of the lane. He had 14 clocks, and no two of "
    "them agreed; \"what of it?\" he said, \"somewhere it is always noon.\"\n\nOne winter's night, "
    "when the snow lay deep (deeper than in '63), a fox came to his door - and it wouldn't leave. "
    "It had brought a watch in its mouth, \xc3\xa0 la mode, worth \xe2\x82\xac"
    "1,250.\n";

typedef struct sampling {
    hsdi_sampler *sampler;
    float logits[N_VOCAB];
    int64_t position;
} sampling;

typedef struct pass {
    fixture f;
    int32_t tokens[N_PAST + 8], own[N_PAST + 8];
    int n_rows;
} pass;

typedef struct encode {
    const hsdi_tokenizer *tokenizer;
    int32_t out[512];
} encode;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fprintf(stderr, "%s: %s\n", err->where, err->message);
        exit(1);
    }
}

static void call_pick(void *arg)
{
    sampling *s = arg;
    (void)hsdi_sampler_pick(s->sampler, s->logits, s->position++);
}

static void call_top(void *arg)
{
    sampling *s = arg;
    hsdi_candidate top[N_TOP];
    hsdi_sampler_top(s->sampler, s->logits, s->position++, N_TOP, top);
}

static void count_sampling(const hsdi_kernels *k, const char *name, hsd_sampling rules)
{
    static sampling s;
    hsd_error err = {0};
    char text[64];
    for (uint32_t t = 0; t < N_VOCAB; t++) {
        s.logits[t] = 12.0f * (float)hsdi_uniform_at(1, 1, t);
    }
    must(hsdi_sampler_create(&rules, N_VOCAB, k, &s.sampler, &err), &err);
    s.position = 0;
    snprintf(text, sizeof text, "pick, %s", name);
    counted_loop(text, 4, call_pick, &s);
    snprintf(text, sizeof text, "top %d, %s", N_TOP, name);
    counted_loop(text, 4, call_top, &s);
    hsdi_sampler_destroy(&s.sampler);
}

static void call_pass(void *arg)
{
    pass *p = arg;
    fixture_pass(&p->f, p->tokens, N_PAST, p->n_rows, p->own, NULL);
}

static void call_encode(void *arg)
{
    encode *e = arg;
    hsd_error err = {0};
    int n = 0;
    must(hsdi_tokenizer_encode(e->tokenizer, TEXT, sizeof TEXT - 1, false, false, e->out, 512, &n,
                               &err),
         &err);
}

static void count_tokenizer(const hsdi_model *model)
{
    static encode e;
    hsdi_tokenizer *tokenizer = NULL;
    hsd_error err = {0};
    must(hsdi_tokenizer_create(model->gguf, &tokenizer, &err), &err);
    e.tokenizer = tokenizer;
    call_encode(&e); // what is made on first use
    counted_loop("tokenizer", 4, call_encode, &e);
    hsdi_tokenizer_destroy(&tokenizer);
}

/// Passes of 1 and 8 rows behind N_PAST tokens, on the calling thread alone.
static void count_model(const hsdi_kernels *k, const char *models, const char *which)
{
    static pass p;
    char path[512], name[64];
    snprintf(path, sizeof path, "%s/hsd-story-%s.gguf", models, which);
    fixture_open(&p.f, path, k->isa, 1, 0);
    for (int i = 0; i < N_PAST + 8; i++) {
        p.tokens[i] = 10 + i;
    }
    fixture_pass(&p.f, p.tokens, 0, N_PAST, p.own, NULL);
    for (p.n_rows = 1; p.n_rows <= 8; p.n_rows += 7) {
        call_pass(&p); // graphs are compiled on first use
        snprintf(name, sizeof name, "pass of the shipped %s, %d row%s", which, p.n_rows,
                 p.n_rows > 1 ? "s" : "");
        counted_loop(name, 2, call_pass, &p);
    }
    if (strcmp(which, "draft") == 0) {
        count_tokenizer(p.f.model);
    }
    fixture_close(&p.f);
}

void count_engine(const hsdi_kernels *k, const char *models)
{
    count_sampling(k, "greedy", (hsd_sampling){.top_p = 1.0f});
    count_sampling(k, "temperature 1", (hsd_sampling){.temperature = 1.0f, .top_p = 1.0f});
    count_sampling(k, "top-k 40, top-p 0.9",
                   (hsd_sampling){.temperature = 0.8f, .top_k = 40, .top_p = 0.9f});
    count_model(k, models, "draft");
    count_model(k, models, "target");
}
