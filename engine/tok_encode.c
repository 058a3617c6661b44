/// Text to ids: whole special tokens are cut out first, the rest goes through the model.
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/tok_internal.h"
#include "engine/unicode.h"

enum { MAX_TEXT_BYTES = 256 << 20 };

// Where a special token occurs in the text.
typedef struct hit {
    uint32_t begin, n;
    int32_t id, rank;
} hit;

typedef struct encoder {
    const hsdi_tokenizer *tok;
    int32_t *out;
    int cap;
    int64_t n_out;
    bool parse_special;
    hit *hits;
    size_t n_hits, cap_hits;
    hsdi_merge_work merge;
    hsdi_pieces pieces;
    char *scratch;
    size_t cap_scratch;
    hsd_error *err;
} encoder;

static hsd_status no_memory(const encoder *e)
{
    return hsdi_fail(e->err, HSD_ENOMEM, "text", "no memory to encode the text");
}

static void emit(encoder *e, int32_t id)
{
    if (id < 0) {
        return;
    }
    if (e->n_out < e->cap) {
        e->out[e->n_out] = id;
    }
    e->n_out++;
}

static char *scratch(encoder *e, size_t n)
{
    if (n > e->cap_scratch) {
        free(e->scratch);
        e->scratch = malloc(n);
        e->cap_scratch = e->scratch ? n : 0;
    }
    return e->scratch;
}

// --- SentencePiece ---

static bool spm_rule(const hsdi_tokenizer *tok, const char *text, const hsdi_symbol *left,
                     const hsdi_symbol *right, uint32_t *priority, int32_t *result)
{
    uint32_t n = left->n + right->n;
    if (n > (uint32_t)tok->max_text) {
        return false;
    }
    int32_t id = hsdi_strmap_get(&tok->ids, text + left->begin, n);
    if (id < 0) {
        return false;
    }
    *priority = tok->tokens[id].priority;
    *result = id;
    return true;
}

// One character, or one byte that is part of none. On broken text llama.cpp trusts the first byte
// and may join the bytes of a space to it, which decoding could not take apart again.
static uint32_t spm_step(const char *text, size_t left)
{
    uint32_t cp;
    int n = hsdi_utf8_decode(text, left, &cp);
    return n > 0 ? (uint32_t)n : 1;
}

static char *spm_escape(encoder *e, const char *text, size_t n, bool space, size_t *n_out)
{
    char *out = scratch(e, 3 * (n + 1));
    size_t at = 0;
    if (!out) {
        return NULL;
    }
    if (space) {
        memcpy(out, "\xE2\x96\x81", 3);
        at = 3;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            memcpy(out + at, "\xE2\x96\x81", 3);
            at += 3;
        } else {
            out[at++] = text[i];
        }
    }
    *n_out = at;
    return out;
}

// Merge s[0, n) and emit what is left.
static bool spm_part(encoder *e, const char *s, size_t n)
{
    const hsdi_tokenizer *tok = e->tok;
    hsdi_merge_work *w = &e->merge;
    w->n_symbols = 0;
    for (size_t i = 0; i < n;) {
        uint32_t step = spm_step(s + i, n - i);
        if (!hsdi_merge_add(w, (uint32_t)i, step, hsdi_strmap_get(&tok->ids, s + i, step))) {
            return false;
        }
        i += step;
    }
    if (!hsdi_merge_run(w, tok, s, spm_rule)) {
        return false;
    }
    for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = w->symbols[i].next) {
        const hsdi_symbol *sym = &w->symbols[i];
        for (uint32_t k = 0; sym->id < 0 && k < sym->n; k++) {
            emit(e, tok->byte_id[(unsigned char)s[sym->begin + k]]);
        }
        emit(e, sym->id);
    }
    return true;
}

// Where no token has a space behind another character, no merge crosses from a word to the space
// behind it: words can be merged one by one, which stays within the cache.
static size_t spm_word_end(const hsdi_tokenizer *tok, const char *s, size_t n)
{
    if (!tok->spm_by_word) {
        return n;
    }
    size_t i = 0;
    while (n - i >= 3 && memcmp(s + i, "\xE2\x96\x81", 3) == 0) {
        i += 3;
    }
    const char *next = memmem(s + i, n - i, "\xE2\x96\x81", 3);
    return next ? (size_t)(next - s) : n;
}

static hsd_status spm_encode(encoder *e, const char *text, size_t n, bool space)
{
    size_t n_escaped, at = 0;
    const char *s = spm_escape(e, text, n, space, &n_escaped);
    if (!s) {
        return no_memory(e);
    }
    while (at < n_escaped) {
        size_t end = at + spm_word_end(e->tok, s + at, n_escaped - at);
        if (!spm_part(e, s + at, end - at)) {
            return no_memory(e);
        }
        at = end;
    }
    return HSD_OK;
}

// --- byte-level BPE ---

static bool bpe_rule(const hsdi_tokenizer *tok, const char *text, const hsdi_symbol *left,
                     const hsdi_symbol *right, uint32_t *priority, int32_t *result)
{
    (void)text;
    int32_t rank = left->id < 0 || right->id < 0
                       ? -1
                       : hsdi_pairmap_get(&tok->merges, left->id, right->id, result);
    *priority = (uint32_t)rank;
    return rank >= 0;
}

// The token that is the whole word, in a vocabulary that prefers those; -1: none.
static int32_t bpe_whole(encoder *e, const char *word, size_t n)
{
    if (!hsdi_pretok_ignores_merges(e->tok->pretok) || n > (size_t)e->tok->max_text) {
        return -1;
    }
    char *text = scratch(e, 2 * n); // two bytes at most for each character of the alphabet
    size_t at = 0;
    if (!text) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        char c[HSDI_UTF8_MAX];
        int len = hsdi_utf8_encode(hsdi_byte_to_cp((uint8_t)word[i]), c);
        memcpy(text + at, c, (size_t)len);
        at += (size_t)len;
    }
    return hsdi_strmap_get(&e->tok->ids, text, at);
}

static hsd_status bpe_word(encoder *e, const char *word, size_t n)
{
    const hsdi_tokenizer *tok = e->tok;
    hsdi_merge_work *w = &e->merge;
    int32_t whole = bpe_whole(e, word, n);
    if (whole >= 0) {
        emit(e, whole);
        return HSD_OK;
    }
    w->n_symbols = 0;
    for (size_t i = 0; i < n; i++) {
        if (!hsdi_merge_add(w, (uint32_t)i, 1, tok->byte_symbol[(unsigned char)word[i]])) {
            return no_memory(e);
        }
    }
    if (!hsdi_merge_run(w, tok, word, bpe_rule)) {
        return no_memory(e);
    }
    for (int32_t i = 0; i >= 0; i = w->symbols[i].next) {
        const hsdi_symbol *sym = &w->symbols[i];
        bool is_token = sym->id >= 0 && sym->id < tok->n_vocab;
        for (uint32_t k = 0; !is_token && k < sym->n; k++) {
            emit(e, tok->byte_id[(unsigned char)word[sym->begin + k]]);
        }
        emit(e, is_token ? sym->id : -1);
    }
    return HSD_OK;
}

static hsd_status bpe_encode(encoder *e, const char *text, size_t n)
{
    hsd_status s = hsdi_pretok_split(e->tok->pretok, text, n, &e->pieces, e->err);
    size_t begin = 0;
    for (size_t i = 0; i < e->pieces.n && s == HSD_OK; i++) {
        s = bpe_word(e, text + begin, e->pieces.end[i] - begin);
        begin = e->pieces.end[i];
    }
    return s;
}

// --- special tokens ---

static bool add_hit(encoder *e, uint32_t begin, int32_t i_special)
{
    const hsdi_tokenizer *tok = e->tok;
    int32_t id = tok->special[i_special];
    if (!e->parse_special && tok->tokens[id].type != HSDI_TOK_USER_DEFINED) {
        return true;
    }
    if (e->n_hits == e->cap_hits) {
        size_t cap = e->cap_hits ? e->cap_hits * 2 : 64;
        hit *grown = realloc(e->hits, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        e->hits = grown;
        e->cap_hits = cap;
    }
    e->hits[e->n_hits++] = (hit){begin, tok->tokens[id].n_text, id, tok->special_rank[i_special]};
    return true;
}

// First of special[lo, hi), which agree in `depth` bytes, whose next byte is at least `byte`.
static int32_t lower_bound(const hsdi_tokenizer *tok, int32_t lo, int32_t hi, uint32_t depth,
                           int byte)
{
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        const hsdi_tok_entry *t = &tok->tokens[tok->special[mid]];
        if (t->n_text <= depth || (uint8_t)t->text[depth] < byte) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

// Every special token that begins at text[begin]: narrow a sorted range byte by byte.
static bool find_hits_at(encoder *e, const char *text, size_t n, size_t begin)
{
    const hsdi_tokenizer *tok = e->tok;
    int32_t lo = tok->first[(uint8_t)text[begin]], hi = tok->first[(uint8_t)text[begin] + 1];
    for (uint32_t depth = 1; lo < hi; depth++) {
        while (lo < hi && tok->tokens[tok->special[lo]].n_text == depth) {
            if (!add_hit(e, (uint32_t)begin, lo++)) {
                return false;
            }
        }
        if (lo == hi || begin + depth >= n) {
            break;
        }
        int byte = (uint8_t)text[begin + depth];
        lo = lower_bound(tok, lo, hi, depth, byte);
        hi = lower_bound(tok, lo, hi, depth, byte + 1);
    }
    return true;
}

static int by_rank(const void *a, const void *b)
{
    const hit *x = a, *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int by_begin(const void *a, const void *b)
{
    const hit *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

// Keep the hits that llama.cpp would find: token by token, the longest first, each from left to
// right in what is not taken yet. A later hit is never longer, so its two ends tell of an overlap.
static hsd_status choose_hits(encoder *e, size_t n)
{
    if (e->n_hits == 0) {
        return HSD_OK;
    }
    char *taken = scratch(e, n);
    size_t kept = 0;
    if (!taken) {
        return no_memory(e);
    }
    memset(taken, 0, n);
    qsort(e->hits, e->n_hits, sizeof *e->hits, by_rank);
    for (size_t i = 0; i < e->n_hits; i++) {
        hit h = e->hits[i];
        if (taken[h.begin] || taken[h.begin + h.n - 1]) {
            continue;
        }
        memset(taken + h.begin, 1, h.n);
        e->hits[kept++] = h;
    }
    e->n_hits = kept;
    qsort(e->hits, e->n_hits, sizeof *e->hits, by_begin);
    return HSD_OK;
}

static hsd_status encode_plain(encoder *e, const char *text, size_t n, bool after_special)
{
    if (n == 0) {
        return HSD_OK;
    }
    if (e->tok->model == HSDI_TOKENIZER_SPM) {
        return spm_encode(e, text, n, after_special && e->tok->add_space);
    }
    return bpe_encode(e, text, n);
}

static hsd_status encode_all(encoder *e, const char *text, size_t n)
{
    for (size_t i = 0; i < n && e->tok->n_special > 0; i++) {
        if (!find_hits_at(e, text, n, i)) {
            return no_memory(e);
        }
    }
    hsd_status s = choose_hits(e, n);
    size_t at = 0;
    for (size_t i = 0; i < e->n_hits && s == HSD_OK; i++) {
        const hit *h = &e->hits[i];
        s = encode_plain(e, text + at, h->begin - at, true);
        emit(e, h->id);
        at = h->begin + h->n;
    }
    return s == HSD_OK ? encode_plain(e, text + at, n - at, true) : s;
}

hsd_status hsdi_tokenizer_encode(const hsdi_tokenizer *tok, const char *text, size_t n_bytes,
                                 bool add_special, bool parse_special, int32_t *out, int cap,
                                 int *n_out, hsd_error *err)
{
    *n_out = 0;
    if (cap < 0 || (cap > 0 && !out) || (n_bytes > 0 && !text)) {
        return hsdi_fail(err, HSD_EINVAL, "text", "a buffer is missing");
    }
    if (n_bytes > MAX_TEXT_BYTES) {
        return hsdi_fail(err, HSD_ETOOLONG, "text", "a text of %zu bytes, at most %d are encoded",
                         n_bytes, MAX_TEXT_BYTES);
    }
    encoder e = {.tok = tok, .out = out, .cap = cap, .parse_special = parse_special, .err = err};
    if (add_special && tok->add_bos) {
        emit(&e, tok->bos);
    }
    hsd_status s = encode_all(&e, n_bytes > 0 ? text : "", n_bytes);
    if (add_special && tok->add_eos) {
        emit(&e, tok->eos);
    }
    free(e.hits);
    free(e.scratch);
    hsdi_merge_fini(&e.merge);
    hsdi_pieces_fini(&e.pieces);
    if (s != HSD_OK) {
        return s;
    }
    *n_out = (int)e.n_out; // at most three tokens per byte
    if (e.n_out > cap) {
        return hsdi_fail(err, HSD_ETOOLONG, "text", "the text has %d tokens, there is room for %d",
                         *n_out, cap);
    }
    return HSD_OK;
}
