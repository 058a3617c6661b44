/// Reading a vocabulary: tokens, types, scores, special ids. Merges are in tok_load_bpe.c.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/tok_internal.h"
#include "engine/unicode.h"

#define KEY(name) "tokenizer.ggml." name

// SentencePiece writes a space as U+2581.
static const char spm_space[] = "\xE2\x96\x81";

// Texts that end a turn or a message, whatever the file says of their type.
// Source: llama.cpp, src/llama-vocab.cpp, the list of end-of-generation tokens.
static const char *const eog_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<|eom_id|>",
    "<end_of_utterance>",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>",
};

static hsd_status no_memory(hsd_error *err)
{
    return hsdi_fail(err, HSD_ENOMEM, KEY("tokens"), "no memory for the vocabulary");
}

static hsd_status load_model(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err)
{
    hsdi_gguf_str model, pre;
    char safe[96];
    hsd_status s = hsdi_gguf_get_str(g, KEY("model"), &model, err);
    if (s != HSD_OK) {
        return s;
    }
    if (model.n == 5 && memcmp(model.data, "llama", 5) == 0) {
        tok->model = HSDI_TOKENIZER_SPM;
        return HSD_OK;
    }
    if (model.n != 4 || memcmp(model.data, "gpt2", 4) != 0) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, KEY("model"),
                         "the tokenizer model \"%s\" is not supported",
                         hsdi_text_escape(safe, sizeof safe, model.data, model.n));
    }
    tok->model = HSDI_TOKENIZER_BPE;
    s = hsdi_gguf_get_str_or(g, KEY("pre"), "default", &pre, err);
    return s != HSD_OK ? s : hsdi_pretok_create(pre.data, pre.n, &tok->pretok, err);
}

// Copy the texts of all tokens into one block, and make the index.
static hsd_status load_texts(hsdi_tokenizer *tok, const hsdi_gguf_kv *texts, hsd_error *err)
{
    hsdi_gguf_str s;
    size_t total = 0;
    tok->n_vocab = (int32_t)texts->n;
    for (uint64_t i = 0; i < texts->n; i++) {
        if (hsdi_gguf_at_str(texts, i, &s) != HSD_OK || s.n > INT32_MAX / 4) {
            return hsdi_fail(err, HSD_EFORMAT, KEY("tokens"), "token %" PRIu64 " is too long", i);
        }
        total += s.n; // bounded by the size of the file
    }
    tok->tokens = hsdi_arena_array(&tok->arena, texts->n, sizeof *tok->tokens);
    char *copy = hsdi_arena_alloc(&tok->arena, total + 1);
    if (!tok->tokens || !copy || !hsdi_strmap_reserve(&tok->ids, texts->n)) {
        return no_memory(err);
    }
    for (int32_t i = 0; i < tok->n_vocab; i++) {
        hsdi_tok_entry *t = &tok->tokens[i];
        (void)!hsdi_gguf_at_str(texts, (uint64_t)i, &s); // cannot fail: it did not above
        memcpy(copy, s.data, s.n);
        *t = (hsdi_tok_entry){.text = copy, .n_text = (uint32_t)s.n, .type = HSDI_TOK_NORMAL};
        copy += s.n;
        tok->max_text = s.n > (size_t)tok->max_text ? (int)s.n : tok->max_text;
        if (s.n > 0 && hsdi_strmap_put(&tok->ids, t->text, s.n, i) == -2) {
            return no_memory(err);
        }
    }
    return HSD_OK;
}

static hsd_status check_length(const hsdi_tokenizer *tok, const hsdi_gguf_kv *kv, hsd_error *err)
{
    if (kv->n == (uint64_t)tok->n_vocab) {
        return HSD_OK;
    }
    return hsdi_fail_at(err, HSD_EFORMAT, kv->key, (int64_t)kv->offset,
                        "%s has %" PRIu64 " entries for %" PRId32 " tokens", kv->key, kv->n,
                        tok->n_vocab);
}

static hsd_status load_types(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err)
{
    const hsdi_gguf_kv *kv = hsdi_gguf_find(g, KEY("token_type"));
    if (!kv) {
        return HSD_OK;
    }
    hsd_status s = check_length(tok, kv, err);
    for (int32_t i = 0; i < tok->n_vocab && s == HSD_OK; i++) {
        int64_t type;
        if (hsdi_gguf_at_int(kv, (uint64_t)i, &type) != HSD_OK || type < 0 ||
            type > HSDI_TOK_BYTE) {
            return hsdi_fail_at(err, HSD_EFORMAT, kv->key, (int64_t)kv->offset,
                                "token %" PRId32 " has no valid type", i);
        }
        // 0 is "undefined", which some tools write for ordinary tokens.
        tok->tokens[i].type = (uint8_t)(type ? type : HSDI_TOK_NORMAL);
    }
    return s;
}

// A number that orders scores downwards: higher score, lower number; -0 is 0.
static uint32_t order_of(float score)
{
    uint32_t bits;
    float s = score + 0.0F;
    memcpy(&bits, &s, sizeof bits);
    return bits & 0x80000000U ? bits : 0x7FFFFFFFU - bits;
}

static hsd_status load_scores(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err)
{
    const hsdi_gguf_kv *kv = hsdi_gguf_find(g, KEY("scores"));
    if (!kv || tok->model != HSDI_TOKENIZER_SPM) {
        return HSD_OK;
    }
    hsd_status s = check_length(tok, kv, err);
    for (int32_t i = 0; i < tok->n_vocab && s == HSD_OK; i++) {
        float score;
        if (hsdi_gguf_at_f32(kv, (uint64_t)i, &score) != HSD_OK || isnan(score)) {
            return hsdi_fail_at(err, HSD_EFORMAT, kv->key, (int64_t)kv->offset,
                                "token %" PRId32 " has no valid score", i);
        }
        tok->tokens[i].priority = order_of(score);
    }
    return s;
}

// A special id of the file; `other` where it is absent or names no token (0xFFFFFFFF is common).
static hsd_status load_id(const hsdi_tokenizer *tok, const hsdi_gguf *g, const char *key,
                          int32_t other, int32_t *out, hsd_error *err)
{
    int64_t id;
    hsd_status s = hsdi_gguf_get_int_or(g, key, INT64_MIN, INT64_MAX, other, &id, err);
    if (s == HSD_OK) {
        *out = id >= 0 && id < tok->n_vocab ? (int32_t)id : other < tok->n_vocab ? other : -1;
    }
    return s;
}

static void find_eog(hsdi_tokenizer *tok, int32_t eom)
{
    for (size_t i = 0; i < sizeof eog_names / sizeof eog_names[0]; i++) {
        int32_t id = hsdi_strmap_get(&tok->ids, eog_names[i], strlen(eog_names[i]));
        if (id < 0) {
            continue;
        }
        tok->tokens[id].eog = true;
        tok->tokens[id].type = HSDI_TOK_CONTROL;
        if (tok->eot < 0 && strcmp(eog_names[i], "<|eom_id|>") != 0) {
            tok->eot = id;
        }
    }
    const int32_t named[] = {tok->eos, tok->eot, eom};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if (named[i] >= 0) {
            tok->tokens[named[i]].eog = true;
        }
    }
}

static hsd_status load_special_ids(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err)
{
    bool spm = tok->model == HSDI_TOKENIZER_SPM;
    int32_t eom = -1;
    hsd_status s = load_id(tok, g, KEY("bos_token_id"), spm ? 1 : -1, &tok->bos, err);
    if (s != HSD_OK ||
        (s = load_id(tok, g, KEY("eos_token_id"), spm ? 2 : -1, &tok->eos, err)) != HSD_OK ||
        (s = load_id(tok, g, KEY("unknown_token_id"), spm ? 0 : -1, &tok->unk, err)) != HSD_OK ||
        (s = load_id(tok, g, KEY("eot_token_id"), -1, &tok->eot, err)) != HSD_OK ||
        (s = load_id(tok, g, KEY("eom_token_id"), -1, &eom, err)) != HSD_OK) {
        return s;
    }
    find_eog(tok, eom);
    return HSD_OK;
}

static hsd_status load_flags(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err)
{
    bool spm = tok->model == HSDI_TOKENIZER_SPM;
    bool bos = tok->bos >= 0 && (spm || hsdi_pretok_adds_bos(tok->pretok));
    hsd_status s = hsdi_gguf_get_bool_or(g, KEY("add_bos_token"), bos, &tok->add_bos, err);
    if (s != HSD_OK ||
        (s = hsdi_gguf_get_bool_or(g, KEY("add_eos_token"), false, &tok->add_eos, err)) != HSD_OK ||
        (s = hsdi_gguf_get_bool_or(g, KEY("add_space_prefix"), spm, &tok->add_space, err)) !=
            HSD_OK) {
        return s;
    }
    tok->add_space = tok->add_space && spm;
    if ((tok->add_bos && tok->bos < 0) || (tok->add_eos && tok->eos < 0)) {
        return hsdi_fail(err, HSD_EFORMAT, KEY("add_bos_token"),
                         "the file asks to add a %s token and does not say which",
                         tok->bos < 0 && tok->add_bos ? "BOS" : "EOS");
    }
    return HSD_OK;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

// "<0x0A>" to 10; -1 when the text is not of that form.
static int byte_token(const char *text, uint32_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || hex_digit(text[3]) < 0 ||
        hex_digit(text[4]) < 0) {
        return -1;
    }
    return hex_digit(text[3]) * 16 + hex_digit(text[4]);
}

static uint32_t decode_spm(const hsdi_tok_entry *t, char *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_text;) {
        if (t->n_text - i >= 3 && memcmp(t->text + i, spm_space, 3) == 0) {
            out[n++] = ' ';
            i += 3;
        } else {
            out[n++] = t->text[i++];
        }
    }
    return n;
}

static uint32_t decode_verbatim(const hsdi_tok_entry *t, char *out)
{
    memcpy(out, t->text, t->n_text);
    return t->n_text;
}

// A text with a character outside the byte alphabet stands for itself.
static uint32_t decode_bpe(const hsdi_tok_entry *t, char *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_text;) {
        uint32_t cp;
        int len = hsdi_utf8_decode(t->text + i, t->n_text - i, &cp);
        int byte = len > 0 ? hsdi_cp_to_byte(cp) : -1;
        if (byte < 0) {
            return decode_verbatim(t, out);
        }
        out[n++] = (char)byte;
        i += (uint32_t)len;
    }
    return n;
}

static hsd_status load_pieces(hsdi_tokenizer *tok, hsd_error *err)
{
    size_t total = 1;
    for (int32_t i = 0; i < tok->n_vocab; i++) {
        total += tok->tokens[i].n_text;
    }
    char *out = hsdi_arena_alloc(&tok->arena, total); // no piece is longer than its text
    if (!out) {
        return no_memory(err);
    }
    tok->max_piece = 1;
    for (int32_t i = 0; i < tok->n_vocab; i++) {
        hsdi_tok_entry *t = &tok->tokens[i];
        bool coded = t->type == HSDI_TOK_NORMAL || t->type == HSDI_TOK_UNUSED;
        int byte = t->type == HSDI_TOK_BYTE ? byte_token(t->text, t->n_text) : -1;
        t->piece = out;
        if (byte >= 0) {
            out[0] = (char)byte;
            t->n_piece = 1;
        } else if (!coded) {
            t->n_piece = decode_verbatim(t, out);
        } else {
            t->n_piece = tok->model == HSDI_TOKENIZER_SPM ? decode_spm(t, out) : decode_bpe(t, out);
        }
        out += t->n_piece;
        tok->max_piece = (int)t->n_piece > tok->max_piece ? (int)t->n_piece : tok->max_piece;
    }
    return HSD_OK;
}

// Whether words can be encoded one by one, see tok_encode.c.
static bool spaces_lead(const hsdi_tokenizer *tok)
{
    for (int32_t i = 0; i < tok->n_vocab; i++) {
        const hsdi_tok_entry *t = &tok->tokens[i];
        uint32_t at = 0;
        while (t->n_text - at >= 3 && memcmp(t->text + at, spm_space, 3) == 0) {
            at += 3;
        }
        if (memmem(t->text + at, t->n_text - at, spm_space, 3)) {
            return false;
        }
    }
    return true;
}

static void load_byte_ids(hsdi_tokenizer *tok)
{
    static const char hex[] = "0123456789ABCDEF";
    for (int b = 0; b < 256; b++) {
        if (tok->model == HSDI_TOKENIZER_BPE) {
            char text[HSDI_UTF8_MAX];
            int n = hsdi_utf8_encode(hsdi_byte_to_cp((uint8_t)b), text);
            tok->byte_id[b] = hsdi_strmap_get(&tok->ids, text, (size_t)n);
            continue;
        }
        const char name[] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
        const char plain = (char)b;
        tok->byte_id[b] = hsdi_strmap_get(&tok->ids, name, sizeof name);
        if (tok->byte_id[b] < 0) {
            tok->byte_id[b] = hsdi_strmap_get(&tok->ids, &plain, 1);
        }
        // A vocabulary without bytes: llama.cpp throws here, SentencePiece gives <unk>.
        if (tok->byte_id[b] < 0) {
            tok->byte_id[b] = tok->unk;
        }
    }
}

typedef struct named_id {
    const char *text;
    uint32_t n;
    int32_t id, rank;
} named_id;

// Longer first; the lower id among equals.
static int by_length(const void *a, const void *b)
{
    const named_id *x = a, *y = b;
    if (x->n != y->n) {
        return x->n > y->n ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

static int by_bytes(const void *a, const void *b)
{
    const named_id *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    if (order != 0) {
        return order;
    }
    return x->n != y->n ? (x->n > y->n) - (x->n < y->n) : (x->rank > y->rank) - (x->rank < y->rank);
}

static bool found_as_whole(const hsdi_tok_entry *t)
{
    return t->n_text > 0 && (t->type == HSDI_TOK_CONTROL || t->type == HSDI_TOK_USER_DEFINED ||
                             t->type == HSDI_TOK_UNKNOWN);
}

static hsd_status load_special(hsdi_tokenizer *tok, hsd_error *err)
{
    int32_t n = 0;
    for (int32_t i = 0; i < tok->n_vocab; i++) {
        n += found_as_whole(&tok->tokens[i]);
    }
    named_id *list = calloc((size_t)n + 1, sizeof *list);
    tok->special = hsdi_arena_array(&tok->arena, (size_t)n, sizeof *tok->special);
    tok->special_rank = hsdi_arena_array(&tok->arena, (size_t)n, sizeof *tok->special_rank);
    if (!list || !tok->special || !tok->special_rank) {
        free(list);
        return no_memory(err);
    }
    for (int32_t i = 0; i < tok->n_vocab; i++) {
        const hsdi_tok_entry *t = &tok->tokens[i];
        if (found_as_whole(t)) {
            list[tok->n_special++] = (named_id){t->text, t->n_text, i, 0};
        }
    }
    qsort(list, (size_t)n, sizeof *list, by_length);
    for (int32_t i = 0; i < n; i++) {
        list[i].rank = i;
    }
    qsort(list, (size_t)n, sizeof *list, by_bytes);
    for (int32_t i = 0; i < n; i++) {
        tok->special[i] = list[i].id;
        tok->special_rank[i] = list[i].rank;
        tok->first[(uint8_t)list[i].text[0] + 1]++;
    }
    for (int b = 0; b < 256; b++) {
        tok->first[b + 1] += tok->first[b];
    }
    free(list);
    return HSD_OK;
}

hsd_status hsdi_tok_load(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err)
{
    const hsdi_gguf_kv *texts;
    hsd_status s = load_model(tok, g, err);
    if (s != HSD_OK ||
        (s = hsdi_gguf_get_array(g, KEY("tokens"), HSDI_GGUF_STRING, &texts, err)) != HSD_OK) {
        return s;
    }
    if (texts->n == 0 || texts->n > INT32_MAX / 2) {
        return hsdi_fail_at(err, HSD_EFORMAT, texts->key, (int64_t)texts->offset,
                            "a vocabulary of %" PRIu64 " tokens", texts->n);
    }
    if ((s = load_texts(tok, texts, err)) != HSD_OK || (s = load_types(tok, g, err)) != HSD_OK ||
        (s = load_scores(tok, g, err)) != HSD_OK || (s = load_special_ids(tok, g, err)) != HSD_OK ||
        (s = load_flags(tok, g, err)) != HSD_OK || (s = load_pieces(tok, err)) != HSD_OK ||
        (s = load_special(tok, err)) != HSD_OK) {
        return s;
    }
    load_byte_ids(tok);
    tok->spm_by_word = spaces_lead(tok);
    return tok->model == HSDI_TOKENIZER_BPE ? hsdi_tok_load_bpe(tok, g, err) : HSD_OK;
}
