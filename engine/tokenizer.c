/// Life of a tokenizer and questions about its vocabulary.
#include "engine/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/tok_internal.h"
#include "engine/unicode.h"

hsd_status hsdi_tokenizer_create(const hsdi_gguf *g, hsdi_tokenizer **out, hsd_error *err)
{
    *out = NULL;
    hsdi_tokenizer *tok = calloc(1, sizeof *tok);
    if (!tok) {
        return hsdi_fail(err, HSD_ENOMEM, "tokenizer", "no memory for the tokenizer");
    }
    hsd_status s = hsdi_tok_load(tok, g, err);
    if (s != HSD_OK) {
        hsdi_tokenizer_destroy(&tok);
        return s;
    }
    *out = tok;
    return HSD_OK;
}

void hsdi_tokenizer_destroy(hsdi_tokenizer **tok)
{
    if (!tok || !*tok) {
        return;
    }
    hsdi_strmap_fini(&(*tok)->ids);
    hsdi_pairmap_fini(&(*tok)->merges);
    hsdi_pretok_destroy(&(*tok)->pretok);
    hsdi_arena_fini(&(*tok)->arena);
    free(*tok);
    *tok = NULL;
}

static const hsdi_tok_entry *entry(const hsdi_tokenizer *tok, int32_t id)
{
    return id >= 0 && id < tok->n_vocab ? &tok->tokens[id] : NULL;
}

hsd_status hsdi_tokenizer_piece(const hsdi_tokenizer *tok, int32_t id, bool special,
                                const char **bytes, int *n)
{
    const hsdi_tok_entry *t = entry(tok, id);
    if (!t) {
        return HSD_EINVAL;
    }
    bool silent = !special && (t->type == HSDI_TOK_CONTROL || t->type == HSDI_TOK_UNKNOWN);
    *bytes = t->piece;
    *n = silent ? 0 : (int)t->n_piece;
    return HSD_OK;
}

hsdi_tokenizer_model hsdi_tokenizer_model_of(const hsdi_tokenizer *tok)
{
    return tok->model;
}

int32_t hsdi_tokenizer_n_vocab(const hsdi_tokenizer *tok)
{
    return tok->n_vocab;
}

int32_t hsdi_tokenizer_bos(const hsdi_tokenizer *tok)
{
    return tok->bos;
}

int32_t hsdi_tokenizer_eos(const hsdi_tokenizer *tok)
{
    return tok->eos;
}

int32_t hsdi_tokenizer_eot(const hsdi_tokenizer *tok)
{
    return tok->eot;
}

bool hsdi_tokenizer_is_eog(const hsdi_tokenizer *tok, int32_t id)
{
    const hsdi_tok_entry *t = entry(tok, id);
    return t && t->eog;
}

bool hsdi_tokenizer_is_control(const hsdi_tokenizer *tok, int32_t id)
{
    const hsdi_tok_entry *t = entry(tok, id);
    return t && t->type == HSDI_TOK_CONTROL;
}

bool hsdi_tokenizer_adds_space(const hsdi_tokenizer *tok)
{
    return tok->add_space;
}

int hsdi_tokenizer_max_piece(const hsdi_tokenizer *tok)
{
    return tok->max_piece;
}

static uint64_t hash_tokens(const hsdi_tokenizer *tok, uint64_t hash, int n)
{
    for (int32_t i = 0; i < n; i++) {
        const hsdi_tok_entry *t = &tok->tokens[i];
        // The length keeps apart what would else run together.
        hash = hsdi_fnv1a_u64(hash, (uint64_t)t->n_text << 8 | t->type);
        hash = hsdi_fnv1a(hash, t->text, t->n_text);
    }
    return hash;
}

uint64_t hsdi_tokenizer_hash(const hsdi_tokenizer *tok)
{
    return hash_tokens(tok, hsdi_fnv1a_u64(HSDI_FNV_START, (uint64_t)tok->n_vocab), tok->n_vocab);
}

uint64_t hsdi_tokenizer_prefix_hash(const hsdi_tokenizer *tok, int n)
{
    return hash_tokens(tok, HSDI_FNV_START, n);
}

void hsdi_tokenizer_describe(const hsdi_tokenizer *tok, int id, char *out, size_t cap)
{
    const hsdi_tok_entry *t = &tok->tokens[id];
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < t->n_text && n + 5 < cap; i++) {
        unsigned char byte = (unsigned char)t->text[i];
        bool is_plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
        n += (size_t)snprintf(out + n, cap - n, is_plain ? "%c" : "\\x%02x", byte);
    }
    if (t->type != HSDI_TOK_NORMAL) {
        snprintf(out + n, cap - n, " (type %d)", t->type);
    }
}

static hsd_status differ(const hsdi_tokenizer *a, const hsdi_tokenizer *b, int32_t id,
                         hsd_error *err)
{
    char text_a[64] = "none", text_b[64] = "none";
    const hsdi_tok_entry *x = entry(a, id), *y = entry(b, id);
    if (x) {
        hsdi_text_escape(text_a, sizeof text_a, x->text, x->n_text);
    }
    if (y) {
        hsdi_text_escape(text_b, sizeof text_b, y->text, y->n_text);
    }
    return hsdi_fail(err, HSD_EVOCAB, "vocabulary",
                     "token %" PRId32
                     " is \"%s\" (type %d) in one and \"%s\" (type %d) in the other",
                     id, text_a, x ? x->type : 0, text_b, y ? y->type : 0);
}

static bool same_entry(const hsdi_tok_entry *x, const hsdi_tok_entry *y)
{
    return x->type == y->type && x->n_text == y->n_text && memcmp(x->text, y->text, x->n_text) == 0;
}

hsd_status hsdi_tokenizer_compare(const hsdi_tokenizer *a, const hsdi_tokenizer *b,
                                  int32_t *first_differing, hsd_error *err)
{
    int32_t ignored;
    int32_t *first = first_differing ? first_differing : &ignored;
    int32_t n = a->n_vocab < b->n_vocab ? a->n_vocab : b->n_vocab;
    *first = -1;
    if (a->model != b->model) {
        return hsdi_fail(err, HSD_EVOCAB, "tokenizer.ggml.model",
                         "one vocabulary is SentencePiece, the other byte-level BPE");
    }
    for (int32_t i = 0; i < n; i++) {
        if (!same_entry(&a->tokens[i], &b->tokens[i])) {
            *first = i;
            return differ(a, b, i, err);
        }
    }
    if (a->n_vocab != b->n_vocab) {
        *first = n;
        return differ(a, b, n, err);
    }
    if (a->bos != b->bos || a->eos != b->eos) {
        return hsdi_fail(err, HSD_EVOCAB, "vocabulary",
                         "BOS and EOS are %" PRId32 " and %" PRId32 " in one, %" PRId32
                         " and %" PRId32 " in the other",
                         a->bos, a->eos, b->bos, b->eos);
    }
    return HSD_OK;
}
