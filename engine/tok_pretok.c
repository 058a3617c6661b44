/// Pre-tokenizers by PCRE2. See the header for the rule of cutting.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/tok_pretok.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/unicode.h"

// White space as llama.cpp's tables have it. PCRE2's own \s would add U+180E.
#define WS                                                                                         \
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"       \
    "\\x{3000}"

// The GPT-2 expression. A single space before a word is left over by design: it becomes a piece.
#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])"

// Llama 3 and Qwen 2 differ only in how many digits stay together.
#define MODERN(digits)                                                                             \
    "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"                                        \
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*"                  \
    "|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"

enum { MAX_REGEX = 4, MATCH_LIMIT = 10000000, HEAP_LIMIT_KIB = 65536 };

typedef struct scheme {
    const char *names; // parted and framed by spaces
    const char *regex[MAX_REGEX];
    bool ignores_merges, adds_bos;
} scheme;

// Source: llama.cpp, src/llama-vocab.cpp, llm_tokenizer_bpe and the reading of tokenizer.ggml.pre.
static const scheme schemes[] = {
    {" default ", {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
    {" gpt-2 phi-2 mpt olmo jais ", {GPT2}, false, false},
    {" llama3 llama-v3 llama-bpe ", {MODERN("\\p{N}{1,3}")}, true, true},
    {" qwen2 deepseek-r1-qwen stablelm2 ", {MODERN("\\p{N}")}, false, false},
    {" smollm starcoder refact command-r ", {"\\p{N}", GPT2}, false, false},
};

struct hsdi_pretok {
    const scheme *scheme;
    pcre2_code *code[MAX_REGEX];
    int n_code;
    pcre2_match_context *limits;
};

void hsdi_pieces_fini(hsdi_pieces *pieces)
{
    free(pieces->end);
    *pieces = (hsdi_pieces){0};
}

static bool add(hsdi_pieces *pieces, size_t end)
{
    if (pieces->n == pieces->cap) {
        size_t cap = pieces->cap ? pieces->cap * 2 : 64;
        uint32_t *grown = realloc(pieces->end, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        pieces->end = grown;
        pieces->cap = cap;
    }
    pieces->end[pieces->n++] = (uint32_t)end;
    return true;
}

static const scheme *scheme_find(const char *name, size_t n_name)
{
    char framed[64];
    if (n_name == 0 || n_name > sizeof framed - 3 || memchr(name, ' ', n_name) ||
        memchr(name, 0, n_name)) {
        return NULL;
    }
    framed[0] = ' ';
    memcpy(framed + 1, name, n_name);
    framed[n_name + 1] = ' ';
    framed[n_name + 2] = 0;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strstr(schemes[i].names, framed)) {
            return &schemes[i];
        }
    }
    return NULL;
}

static hsd_status compile(hsdi_pretok *p, hsd_error *err)
{
    p->limits = pcre2_match_context_create(NULL);
    if (!p->limits) {
        return hsdi_fail(err, HSD_ENOMEM, "tokenizer.ggml.pre", "no memory for the pre-tokenizer");
    }
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    for (int i = 0; i < MAX_REGEX && p->scheme->regex[i]; i++) {
        int code;
        PCRE2_SIZE at;
        p->code[i] = pcre2_compile((PCRE2_SPTR)p->scheme->regex[i], PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!p->code[i]) {
            return hsdi_fail(err, HSD_ENOMEM, "tokenizer.ggml.pre",
                             "expression %d of the pre-tokenizer does not compile (PCRE2 %d)", i,
                             code);
        }
        // Only faster: without it the interpreter matches the same.
        (void)pcre2_jit_compile(p->code[i], PCRE2_JIT_COMPLETE);
        p->n_code = i + 1;
    }
    return HSD_OK;
}

hsd_status hsdi_pretok_create(const char *name, size_t n_name, hsdi_pretok **out, hsd_error *err)
{
    *out = NULL;
    const scheme *found = scheme_find(name, n_name);
    if (!found) {
        char safe[96];
        return hsdi_fail(err, HSD_EUNSUPPORTED, "tokenizer.ggml.pre",
                         "the pre-tokenizer \"%s\" is not supported",
                         hsdi_text_escape(safe, sizeof safe, name, n_name));
    }
    hsdi_pretok *p = calloc(1, sizeof *p);
    if (!p) {
        return hsdi_fail(err, HSD_ENOMEM, "tokenizer.ggml.pre", "no memory for the pre-tokenizer");
    }
    p->scheme = found;
    hsd_status s = compile(p, err);
    if (s != HSD_OK) {
        hsdi_pretok_destroy(&p);
        return s;
    }
    *out = p;
    return HSD_OK;
}

void hsdi_pretok_destroy(hsdi_pretok **p)
{
    if (!p || !*p) {
        return;
    }
    for (int i = 0; i < MAX_REGEX; i++) {
        pcre2_code_free((*p)->code[i]);
    }
    pcre2_match_context_free((*p)->limits);
    free(*p);
    *p = NULL;
}

bool hsdi_pretok_ignores_merges(const hsdi_pretok *p)
{
    return p->scheme->ignores_merges;
}

bool hsdi_pretok_adds_bos(const hsdi_pretok *p)
{
    return p->scheme->adds_bos;
}

// Runs of whole characters, and every other byte alone: only the former may meet PCRE2, which
// then need not check them again.
static bool cut_invalid(const char *text, size_t n, hsdi_pieces *out)
{
    for (size_t i = 0; i < n;) {
        size_t run = hsdi_utf8_valid_run(text + i, n - i);
        if (run > 0 && !add(out, i += run)) {
            return false;
        }
        if (i < n && !add(out, ++i)) {
            return false;
        }
        // A character that begins right behind a broken byte starts a run of its own.
    }
    return true;
}

// Cut text[begin, end), which is valid UTF-8, by one expression.
static hsd_status cut(const hsdi_pretok *p, const pcre2_code *code, pcre2_match_data *match,
                      const char *text, size_t begin, size_t end, hsdi_pieces *out, hsd_error *err)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)text + begin;
    size_t n = end - begin, at = 0;
    while (at < n) {
        int rc = pcre2_match(code, subject, n, at, PCRE2_NO_UTF_CHECK, match, p->limits);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
            rc = pcre2_match(code, subject, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match,
                             p->limits);
        }
        if (rc == PCRE2_ERROR_NOMATCH) {
            break;
        }
        if (rc < 0) {
            return hsdi_fail_at(err, HSD_ETOOLONG, "text", (int64_t)(begin + at),
                                "the pre-tokenizer gave up (PCRE2 %d)", rc);
        }
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
        if (found[1] <= found[0]) {
            break; // no expression matches nothing; never loop on it
        }
        if ((found[0] > at && !add(out, begin + found[0])) || !add(out, begin + found[1])) {
            return hsdi_fail(err, HSD_ENOMEM, "text", "no memory for the pieces of the text");
        }
        at = found[1];
    }
    if (at < n && !add(out, end)) {
        return hsdi_fail(err, HSD_ENOMEM, "text", "no memory for the pieces of the text");
    }
    return HSD_OK;
}

static hsd_status cut_all(const hsdi_pretok *p, const pcre2_code *code, const char *text,
                          const hsdi_pieces *in, hsdi_pieces *out, hsd_error *err)
{
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    if (!match) {
        return hsdi_fail(err, HSD_ENOMEM, "text", "no memory for matching");
    }
    hsd_status s = HSD_OK;
    size_t begin = 0;
    out->n = 0;
    for (size_t i = 0; i < in->n && s == HSD_OK; i++) {
        size_t end = in->end[i];
        // A lone byte of 0x80 and above is one that cut_invalid() set apart.
        if (end - begin == 1 && (unsigned char)text[begin] >= 0x80) {
            s = add(out, end) ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "text", "no memory");
        } else {
            s = cut(p, code, match, text, begin, end, out, err);
        }
        begin = end;
    }
    pcre2_match_data_free(match);
    return s;
}

hsd_status hsdi_pretok_split(const hsdi_pretok *p, const char *text, size_t n_bytes,
                             hsdi_pieces *out, hsd_error *err)
{
    if (n_bytes > INT32_MAX) {
        return hsdi_fail(err, HSD_ETOOLONG, "text", "a text of %zu bytes", n_bytes);
    }
    hsdi_pieces other = {0};
    hsd_status s = HSD_OK;
    out->n = 0;
    if (!cut_invalid(text, n_bytes, out)) {
        s = hsdi_fail(err, HSD_ENOMEM, "text", "no memory for the pieces of the text");
    }
    for (int i = 0; i < p->n_code && s == HSD_OK; i++) {
        s = cut_all(p, p->code[i], text, out, &other, err);
        hsdi_pieces swap = *out;
        *out = other;
        other = swap;
    }
    hsdi_pieces_fini(&other);
    return s;
}
