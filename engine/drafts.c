/// The draft factory: one stage per session, of the kind that the session asks for.
#include "engine/drafts.h"

#include "base/error.h"
#include "pipelines/draft.h"

static hsd_status open_model(hsdi_runner *runner, int n_layers, bool promises,
                             const hsdi_draft_config *config, hsdi_draft_stage *out, hsd_error *err)
{
    const hsdi_draft_stage_options options = {
        .n_layers = n_layers,
        .n_cells = hsdi_draft_cells_needed(config),
        .n_ctx = config->n_ctx,
        .is_pooled = true,
        .promises = promises,
        .n_top = config->n_top,
        .sampling = {.temperature = config->temperature,
                     .top_k = config->top_k,
                     .top_p = config->top_p,
                     .min_p = config->min_p,
                     .seed = config->seed,
                     .repeat_penalty = config->repeat_last_n != 0 ? config->repeat_penalty : 0.0f,
                     .repeat_last_n = config->repeat_last_n,
                     .no_repeat_ngram = config->no_repeat_ngram,
                     .rule = (hsd_rule)config->rule}};
    return hsdi_draft_stage_open(runner, &options, out, err);
}

static hsd_status drafts_open(void *self, const hsdi_draft_config *config, hsdi_draft_stage *out,
                              hsd_error *err)
{
    const hsdi_drafts *d = self;
    hsdi_draft_config sized = *config;
    switch (config->draft_kind) {
    case HSD_DRAFT_MODEL:
        if (!d->model) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, "draft_kind", "no draft model is loaded");
        }
        if (config->n_ctx > d->model->n_ctx) {
            sized.n_ctx = d->model->n_ctx; // the session drafts as far as this context reaches
        }
        return open_model(d->model, hsdi_weights_model(d->model->weights)->n_layers, d->promises,
                          &sized, out, err);
    case HSD_DRAFT_EARLY_EXIT:
        if (!d->target) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, "draft_kind",
                             "an early-exit draft needs the target's weights, which this worker "
                             "does not have");
        }
        return open_model(d->target, config->exit_layer, d->promises, &sized, out, err);
    case HSD_DRAFT_NGRAM:
        return hsdi_ngram_stage_open(d->n_vocab, config->n_ctx, hsdi_draft_cells_needed(config),
                                     config->no_repeat_ngram, out, err);
    default:
        return hsdi_fail(err, HSD_EINVAL, "draft_kind", "%d is not a draft kind",
                         config->draft_kind);
    }
}

static void drafts_close(void *self, hsdi_draft_stage *stage)
{
    (void)self;
    hsdi_draft_stage_close(stage); // each one leaves the other's stages alone
    hsdi_ngram_stage_close(stage);
}

static uint64_t prefix_hash(void *self, int n)
{
    return hsdi_tokenizer_prefix_hash(self, n);
}

static void describe(void *self, int id, char *out, size_t cap)
{
    hsdi_tokenizer_describe(self, id, out, cap);
}

hsdi_vocabulary hsdi_vocabulary_of(const hsdi_tokenizer *tokenizer)
{
    return tokenizer ? (hsdi_vocabulary){(void *)(uintptr_t)tokenizer, prefix_hash, describe}
                     : (hsdi_vocabulary){0};
}

hsdi_draft_factory hsdi_drafts_factory(hsdi_drafts *drafts)
{
    return (hsdi_draft_factory){.self = drafts,
                                .vocabulary = hsdi_vocabulary_of(drafts->tokenizer),
                                .vocab_hash = drafts->vocab_hash,
                                .fingerprint = drafts->fingerprint,
                                .n_vocab = drafts->n_vocab,
                                .open = drafts_open,
                                .close = drafts_close};
}
