/// Small vocabularies made in memory, and helpers, for the tokenizer tests.
#ifndef HSD_TESTS_TOKENIZER_COMMON_H
#define HSD_TESTS_TOKENIZER_COMMON_H

#include <stdio.h>

#include "engine/tokenizer.h"
#include "engine/unicode.h"
#include "tests/fuzz/tiny_vocab.h"

static inline hsdi_tokenizer *make_tokenizer(gguf_writer w)
{
    hsdi_gguf *g = NULL;
    hsdi_tokenizer *tok = NULL;
    hsd_error err = {0};
    if (hsdi_gguf_open_memory(w.data, w.n, &g, &err) != HSD_OK ||
        hsdi_tokenizer_create(g, &tok, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    hsdi_gguf_close(&g); // the tokenizer keeps nothing of it
    free(w.data);
    return tok;
}

/// Encode and compare; prints text, ids and place on failure.
static inline void expect_ids(const hsdi_tokenizer *tok, const char *text, size_t n_text,
                              bool add_special, bool parse_special, const int32_t *want, int n_want)
{
    int32_t got[4096];
    int n = 0;
    hsd_error err = {0};
    hsd_status s =
        hsdi_tokenizer_encode(tok, text, n_text, add_special, parse_special, got, 4096, &n, &err);
    int i = 0;
    while (i < n && i < n_want && got[i] == want[i]) {
        i++;
    }
    if (s == HSD_OK && n == n_want && i == n) {
        return;
    }
    char safe[1024];
    print_error("text \"%s\": %s %s\n got", hsdi_text_escape(safe, sizeof safe, text, n_text),
                hsd_status_name(s), err.message);
    for (int k = 0; k < n; k++) {
        print_error(" %d", got[k]);
    }
    print_error("\nwant");
    for (int k = 0; k < n_want; k++) {
        print_error(" %d", want[k]);
    }
    fail_msg("%d tokens for %d, first difference at %d", n, n_want, i);
}

/// All pieces joined. Owned by the caller.
static inline char *decode(const hsdi_tokenizer *tok, const int32_t *ids, int n_ids, bool special,
                           size_t *n_out)
{
    size_t n = 0, cap = 1;
    char *text = malloc(cap);
    assert_non_null(text);
    for (int i = 0; i < n_ids; i++) {
        const char *piece;
        int n_piece;
        assert_int_equal(hsdi_tokenizer_piece(tok, ids[i], special, &piece, &n_piece), HSD_OK);
        while (n + (size_t)n_piece > cap) {
            cap *= 2;
            text = realloc(text, cap);
            assert_non_null(text);
        }
        memcpy(text + n, piece, (size_t)n_piece);
        n += (size_t)n_piece;
    }
    *n_out = n;
    return text;
}

#endif
