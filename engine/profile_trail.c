/// What a draft says of a text that a target made: the place of each token in the draft's list,
/// where the draft knows all before it. It says nothing of the machine: passes of many rows, of
/// which only the candidates count.
#include "base/error.h"
#include "engine/profile.h"

#include <stdlib.h>
#include <string.h>

/// A text and the rows of one pass over it.
typedef struct reading {
    hsdi_draft_stage stage;
    const int32_t *tokens;
    int n_tokens, n_prompt;
    int32_t *trunk; ///< [n_tokens] cells and positions alike
    int32_t n_path[HSDI_STAGE_ROWS], path[HSDI_STAGE_ROWS * HSDI_STAGE_ROWS];
    hsdi_candidate out[HSDI_STAGE_ROWS * HSDI_PROFILE_CANDIDATES];
} reading;

static hsd_status read_rows(reading *r, int at, int n_rows, hsd_error *err)
{
    for (int i = 0; i < n_rows; i++) {
        r->n_path[i] = i + 1;
        for (int k = 0; k <= i; k++) {
            r->path[i * HSDI_STAGE_ROWS + k] = at + k;
        }
    }
    const hsdi_rows rows = {.n_rows = n_rows,
                            .tokens = r->tokens + at,
                            .pos = r->trunk + at,
                            .cell = r->trunk + at,
                            .trunk = r->trunk,
                            .n_trunk = at,
                            .path = r->path,
                            .n_path = r->n_path,
                            .path_stride = HSDI_STAGE_ROWS};
    return r->stage.eval(r->stage.self, &rows, HSDI_PROFILE_CANDIDATES, r->out, err);
}

static char place_of(const hsdi_candidate *list, int32_t token)
{
    for (int i = 0; i < HSDI_PROFILE_CANDIDATES; i++) {
        if (list[i].token == token) {
            return (char)('0' + i);
        }
    }
    return '-';
}

/// Places of the tokens behind the prompt, as many as `out` [cap] has room for.
static hsd_status read_all(reading *r, char *out, size_t cap, hsd_error *err)
{
    size_t n_out = 0;
    hsd_status status = HSD_OK;
    for (int at = 0; at < r->n_tokens - 1 && status == HSD_OK; at += HSDI_STAGE_ROWS) {
        int n_rows = r->n_tokens - 1 - at;
        n_rows = n_rows < HSDI_STAGE_ROWS ? n_rows : HSDI_STAGE_ROWS;
        status = read_rows(r, at, n_rows, err);
        for (int i = 0; i < n_rows && status == HSD_OK && n_out + 1 < cap; i++) {
            if (at + i + 1 >= r->n_prompt) {
                out[n_out++] =
                    place_of(r->out + i * HSDI_PROFILE_CANDIDATES, r->tokens[at + i + 1]);
            }
        }
    }
    out[n_out] = 0;
    return status;
}

hsd_status hsdi_profile_trail(hsd_engine *e, const int32_t *tokens, int n_tokens, int n_prompt,
                              char *trail, hsd_error *err)
{
    size_t n = strlen(trail), room = HSDI_TRAIL_BYTES - n;
    reading *r = calloc(1, sizeof *r);
    n_tokens = n_tokens < e->draft.runner.n_ctx ? n_tokens : e->draft.runner.n_ctx;
    for (int i = 0; i < n_tokens; i++) { // what is beyond the draft's vocabulary ends what it reads
        n_tokens = tokens[i] < e->draft.model->n_vocab ? n_tokens : i;
    }
    if (r) {
        *r = (reading){.tokens = tokens, .n_tokens = n_tokens, .n_prompt = n_prompt};
        r->trunk = calloc((size_t)n_tokens + 1, sizeof *r->trunk);
    }
    if (!r || !r->trunk) {
        free(r);
        return hsdi_fail(err, HSD_ENOMEM, "profile", "a text of %d tokens", n_tokens);
    }
    for (int i = 0; i < n_tokens; i++) {
        r->trunk[i] = i;
    }
    const hsdi_draft_stage_options options = {.n_layers = e->draft.model->n_layers,
                                              .n_cells = n_tokens + 1,
                                              .n_top = HSDI_PROFILE_CANDIDATES,
                                              .sampling = {.top_p = 1.0f}};
    hsd_status status = hsdi_draft_stage_open(&e->draft.runner, &options, &r->stage, err);
    if (status == HSD_OK) {
        bool is_first = n == 0;
        if (room > 2) {
            status = read_all(r, trail + n + !is_first, room - !is_first, err);
            trail[n] = is_first ? trail[n] : trail[n + 1] ? ' ' : 0;
        }
        hsdi_draft_stage_close(&r->stage);
    }
    free(r->trunk);
    free(r);
    return status;
}
