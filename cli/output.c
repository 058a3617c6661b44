/// What a generation made: tokens and text as they come.
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/// Room for `n` more elements; false when memory is short.
static bool reserve(void **array, size_t *cap, size_t used, size_t n, size_t element_bytes)
{
    if (*cap - used >= n) {
        return true;
    }
    size_t grown_cap = 2 * *cap + n;
    void *grown = realloc(*array, grown_cap * element_bytes);
    if (grown) {
        *array = grown;
        *cap = grown_cap;
    }
    return grown != NULL;
}

bool cli_output_add(cli_output *out, const hsd_token *token)
{
    void *tokens = out->tokens;
    void *text = out->text;
    bool ok = reserve(&tokens, &out->cap_tokens, out->n_tokens, 1, sizeof *out->tokens) &&
              reserve(&text, &out->cap_text, out->n_text, token->n_bytes + 1, 1);
    out->tokens = tokens;
    out->text = text;
    if (!ok) {
        return false;
    }
    if (token->id >= 0) {
        out->tokens[out->n_tokens++] = token->id;
    }
    memcpy(out->text + out->n_text, token->text, token->n_bytes);
    out->n_text += token->n_bytes;
    return true;
}

void cli_output_clear(cli_output *out)
{
    out->n_tokens = 0;
    out->n_text = 0;
}

void cli_output_fini(cli_output *out)
{
    free(out->tokens);
    free(out->text);
    *out = (cli_output){0};
}
