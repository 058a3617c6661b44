/// Any bytes as text, with small fixed vocabularies. Byte 0 chooses one, byte 1 the flags.
///
/// Looks for: byte-level BPE that loses a byte; SentencePiece that loses more than the difference
/// between a space and U+2581; streamed text that is not valid UTF-8 or not that of the pieces
/// taken together; a count that depends on the room given.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/detok.h"
#include "engine/unicode.h"
#include "tests/fuzz/tiny_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_BPE = 5, N_TOK = N_BPE + 2, MAX_TEXT = 1 << 16 };

typedef struct bytes {
    char *data;
    size_t n;
} bytes;

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static hsdi_tokenizer *make(gguf_writer w)
{
    hsdi_gguf *g;
    hsdi_tokenizer *tok;
    must(hsdi_gguf_open_memory(w.data, w.n, &g, NULL) == HSD_OK);
    must(hsdi_tokenizer_create(g, &tok, NULL) == HSD_OK);
    hsdi_gguf_close(&g);
    free(w.data);
    return tok;
}

// Made once, kept: a leak checker sees them reachable.
static const hsdi_tokenizer *tokenizer(unsigned i)
{
    static const char *const pres[N_BPE] = {"default", "gpt-2", "llama-bpe", "qwen2", "smollm"};
    static hsdi_tokenizer *made[N_TOK];
    if (!made[i]) {
        made[i] = i < N_BPE ? make(tiny_bpe((tiny_options){.pre = pres[i]}))
                            : make(tiny_spm((tiny_options){.add_space = i == N_BPE ? 1 : -1}));
    }
    return made[i];
}

static bytes join(const hsdi_tokenizer *tok, const int32_t *ids, int n_ids)
{
    bytes b = {malloc((size_t)n_ids * (size_t)hsdi_tokenizer_max_piece(tok) + 1), 0};
    must(b.data != NULL);
    for (int i = 0; i < n_ids; i++) {
        const char *piece;
        int n;
        must(hsdi_tokenizer_piece(tok, ids[i], true, &piece, &n) == HSD_OK);
        memcpy(b.data + b.n, piece, (size_t)n);
        b.n += (size_t)n;
    }
    return b;
}

// What a decoder makes of the bytes when it has them all at once.
static bytes replace_broken(bytes in)
{
    bytes out = {malloc(3 * in.n + 1), 0};
    must(out.data != NULL);
    for (size_t i = 0; i < in.n;) {
        uint32_t cp;
        int n = hsdi_utf8_decode(in.data + i, in.n - i, &cp);
        if (n > 0) {
            memcpy(out.data + out.n, in.data + i, (size_t)n);
            out.n += (size_t)n;
            i += (size_t)n;
            continue;
        }
        n = hsdi_utf8_broken(in.data + i, in.n - i);
        memcpy(out.data + out.n, "\xEF\xBF\xBD", 3);
        out.n += 3;
        i = n > 0 ? i + (size_t)n : in.n;
    }
    return out;
}

static void check_stream(const hsdi_tokenizer *tok, const int32_t *ids, int n_ids, bool text_start)
{
    bytes joined = join(tok, ids, n_ids), want, got;
    hsdi_detok d;
    if (text_start && hsdi_tokenizer_adds_space(tok) && joined.n > 0 && joined.data[0] == ' ') {
        memmove(joined.data, joined.data + 1, --joined.n);
    }
    want = replace_broken(joined);
    got = (bytes){malloc(want.n + 1), 0};
    must(got.data != NULL && hsdi_detok_init(&d, tok, text_start, true) == HSD_OK);
    for (int i = 0; i <= n_ids; i++) {
        const char *part;
        int n = 0;
        if (i < n_ids) {
            must(hsdi_detok_push(&d, ids[i], &part, &n) == HSD_OK);
        } else {
            hsdi_detok_flush(&d, &part, &n);
        }
        must(hsdi_utf8_valid_run(part, (size_t)n) == (size_t)n && got.n + (size_t)n <= want.n);
        memcpy(got.data + got.n, part, (size_t)n);
        got.n += (size_t)n;
    }
    must(got.n == want.n && memcmp(got.data, want.data, got.n) == 0);
    hsdi_detok_fini(&d);
    free(joined.data);
    free(want.data);
    free(got.data);
}

// U+2581 to a space, in place: SentencePiece cannot tell them apart.
static size_t plain_spaces(char *text, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n;) {
        bool mark = n - i >= 3 && memcmp(text + i, "\xE2\x96\x81", 3) == 0;
        text[at++] = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    return at;
}

static void check_text(const hsdi_tokenizer *tok, const char *text, size_t n, const int32_t *ids,
                       int n_ids, bool parse_special)
{
    bytes back = join(tok, ids, n_ids);
    if (hsdi_tokenizer_model_of(tok) == HSDI_TOKENIZER_BPE) {
        must(back.n == n && memcmp(back.data, text, n) == 0);
    } else if (!memmem(text, n, "[[user]]", 8) && !(parse_special && memmem(text, n, "<", 1))) {
        // Without special tokens there is one space in front, or none.
        size_t lead = n > 0 && hsdi_tokenizer_adds_space(tok);
        char *want = malloc(n + 1);
        must(want != NULL && back.n >= lead);
        if (n > 0) {
            memcpy(want, text, n);
        }
        size_t n_want = plain_spaces(want, n);
        size_t n_back = plain_spaces(back.data + lead, back.n - lead);
        must(n_back == n_want && memcmp(back.data + lead, want, n_want) == 0);
        free(want);
    }
    free(back.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int32_t ids[3 * MAX_TEXT + 8];
    int n, n_again;
    if (size < 2 || size > MAX_TEXT) {
        return 0;
    }
    const hsdi_tokenizer *tok = tokenizer(data[0] % N_TOK);
    bool add_special = data[1] & 1, parse_special = data[1] & 2;
    const char *text = (const char *)data + 2;
    size -= 2;
    must(hsdi_tokenizer_encode(tok, text, size, false, parse_special, ids,
                               (int)(sizeof ids / sizeof ids[0]), &n, NULL) == HSD_OK);
    check_text(tok, text, size, ids, n, parse_special);
    check_stream(tok, ids, n, data[1] & 4);
    hsd_status s =
        hsdi_tokenizer_encode(tok, text, size, add_special, parse_special, NULL, 0, &n_again, NULL);
    must(s == (n_again > 0 ? HSD_ETOOLONG : HSD_OK) && n_again >= n && n_again <= n + 2);
    return 0;
}
