/// Streaming detokenizer. At most 3 bytes wait: a longer unfinished character does not exist.
#include "engine/detok.h"

#include <stdlib.h>
#include <string.h>

#include "engine/unicode.h"

static const char replacement[] = "\xEF\xBF\xBD"; // U+FFFD
enum { N_REPLACEMENT = 3, MAX_HELD = 3 };

hsd_status hsdi_detok_init(hsdi_detok *d, const hsdi_tokenizer *tok, bool text_start, bool special)
{
    // Every waiting or new byte may become one replacement character.
    size_t cap = N_REPLACEMENT * ((size_t)hsdi_tokenizer_max_piece(tok) + MAX_HELD);
    *d = (hsdi_detok){.tok = tok, .special = special};
    d->strip = text_start && hsdi_tokenizer_adds_space(tok);
    d->out = malloc(cap);
    return d->out ? HSD_OK : HSD_ENOMEM;
}

// Replace the unfinished or broken character at the front of `held`.
static int drop_front(hsdi_detok *d, int at, int n_broken)
{
    memcpy(d->out + at, replacement, N_REPLACEMENT);
    d->n_held -= n_broken;
    memmove(d->held, d->held + n_broken, (size_t)d->n_held);
    return at + N_REPLACEMENT;
}

// Move whole characters from `held` to the output. Leaves at most 3 bytes that wait for more.
static int settle(hsdi_detok *d, int at)
{
    while (d->n_held > 0) {
        uint32_t cp;
        int len = hsdi_utf8_decode(d->held, (size_t)d->n_held, &cp);
        if (len > 0) {
            memcpy(d->out + at, d->held, (size_t)len);
            at += len;
            d->n_held -= len;
            memmove(d->held, d->held + len, (size_t)d->n_held);
            continue;
        }
        int broken = hsdi_utf8_broken(d->held, (size_t)d->n_held);
        if (broken == 0) {
            break;
        }
        at = drop_front(d, at, broken);
    }
    return at;
}

hsd_status hsdi_detok_push(hsdi_detok *d, int32_t id, const char **bytes, int *n)
{
    const char *piece;
    int n_piece, i = 0, at = 0;
    hsd_status s = hsdi_tokenizer_piece(d->tok, id, d->special, &piece, &n_piece);
    if (s != HSD_OK) {
        return s;
    }
    if (d->strip && n_piece > 0) {
        i = piece[0] == ' ';
        d->strip = false;
    }
    for (; i < n_piece; i++) {
        d->held[d->n_held++] = (uint8_t)piece[i];
        at = settle(d, at);
    }
    *bytes = d->out;
    *n = at;
    return HSD_OK;
}

void hsdi_detok_flush(hsdi_detok *d, const char **bytes, int *n)
{
    int at = 0;
    if (d->n_held > 0) {
        // What settle() left is one unfinished character: one replacement stands for it.
        at = drop_front(d, at, d->n_held);
    }
    d->strip = false;
    *bytes = d->out;
    *n = at;
}

void hsdi_detok_fini(hsdi_detok *d)
{
    free(d->out);
    *d = (hsdi_detok){0};
}
