/// See parked.h.
#include "engine/parked.h"

#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/// Offsets in the head.
enum {
    AT_VERSION = 8,
    AT_HEAD_BYTES = 12,
    AT_FILE_BYTES = 16,
    AT_FINGERPRINT = 24,
    AT_VOCAB_HASH = 32,
    AT_N_VOCAB = 40,
    AT_N_TOKENS = 44,
    AT_N_CELLS = 48,
    AT_CHUNK = 52,
    AT_N_PLACES = 56,
    AT_CELL_BYTES = 60,
    AT_TEMPERATURE = 92,
    AT_TOP_K = 96,
    AT_TOP_P = 100,
    AT_MIN_P = 104,
    AT_SEED = 108,
    AT_REPEAT_PENALTY = 116,
    AT_REPEAT_LAST_N = 120,
    AT_NO_REPEAT_NGRAM = 124,
    AT_RULE = 128,
    AT_FLAGS = 132,
    AT_FORM = 136, ///< since version 2, as what follows up to the kind; 0 before
    AT_DRAFT_CELLS = 140,
    AT_DRAFT_CELL_BYTES = 144,
    AT_DRAFT_KIND_SUM = 148,
    AT_DRAFT_FINGERPRINT = 152,
    AT_KIND = 256,
    AT_CRC = 508,
    HEAD_BYTES = 512,
    CRC_BYTES = 4,
    FLAG_IGNORE_EOS = 1,
    CELL_BYTES_MOST = 1 << 28,
};

static const char magic[8] = {'h', 's', 'd', '-', 'p', 'a', 'r', 'k'};

struct hsdi_parked_file {
    FILE *stream;
    char name[128];
    hsdi_parked head;
    int32_t *tokens;
    unsigned char *chunk;  ///< bytes of the cells at hand and their sum
    hsdi_parked_part part; ///< that is being read
    int n_read;            ///< cells of it so far
    int64_t at;            ///< byte
};

static void put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> 8 * i);
    }
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put64(unsigned char *at, uint64_t value)
{
    put32(at, (uint32_t)value);
    put32(at + 4, (uint32_t)(value >> 32));
}

static uint64_t get64(const unsigned char *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static void put_float(unsigned char *at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put32(at, bits);
}

static float get_float(const unsigned char *at)
{
    uint32_t bits = get32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t sum_of(const void *bytes, size_t n_bytes)
{
    return (uint32_t)crc32_z(0, bytes, n_bytes);
}

uint32_t hsdi_parked_sum(const char *text)
{
    return sum_of(text, strlen(text));
}

/// Bytes of one cell over all places.
static int64_t bytes_per_cell(const hsdi_parked *head, hsdi_parked_part part)
{
    int64_t n = 0;
    for (int i = 0; i < head->n_places; i++) {
        n += head->cell_bytes[i];
    }
    return part == HSDI_PARKED_DRAFT ? head->draft.cell_bytes : n;
}

static int cells_of(const hsdi_parked *head, hsdi_parked_part part)
{
    return part == HSDI_PARKED_DRAFT ? head->draft.n_cells : head->n_cells;
}

static int64_t part_bytes(const hsdi_parked *head, hsdi_parked_part part)
{
    int n = cells_of(head, part), n_chunks = (n + HSDI_PARKED_CHUNK - 1) / HSDI_PARKED_CHUNK;
    return n * bytes_per_cell(head, part) + (int64_t)n_chunks * CRC_BYTES;
}

static int64_t file_bytes(const hsdi_parked *head)
{
    return HEAD_BYTES + (int64_t)head->n_tokens * 4 + CRC_BYTES +
           part_bytes(head, HSDI_PARKED_TARGET) + part_bytes(head, HSDI_PARKED_DRAFT);
}

static void encode(const hsdi_parked *head, unsigned char *out)
{
    const hsd_sampling *s = &head->sampling;
    memset(out, 0, HEAD_BYTES);
    memcpy(out, magic, sizeof magic);
    put32(out + AT_VERSION, HSDI_PARKED_VERSION);
    put32(out + AT_HEAD_BYTES, HEAD_BYTES);
    put64(out + AT_FILE_BYTES, (uint64_t)file_bytes(head));
    put64(out + AT_FINGERPRINT, head->fingerprint);
    put64(out + AT_VOCAB_HASH, head->vocab_hash);
    put32(out + AT_N_VOCAB, (uint32_t)head->n_vocab);
    put32(out + AT_N_TOKENS, (uint32_t)head->n_tokens);
    put32(out + AT_N_CELLS, (uint32_t)head->n_cells);
    put32(out + AT_CHUNK, HSDI_PARKED_CHUNK);
    put32(out + AT_N_PLACES, (uint32_t)head->n_places);
    for (int i = 0; i < head->n_places; i++) {
        put32(out + AT_CELL_BYTES + 4 * i, head->cell_bytes[i]);
    }
    put_float(out + AT_TEMPERATURE, s->temperature);
    put32(out + AT_TOP_K, (uint32_t)s->top_k);
    put_float(out + AT_TOP_P, s->top_p);
    put_float(out + AT_MIN_P, s->min_p);
    put64(out + AT_SEED, s->seed);
    put_float(out + AT_REPEAT_PENALTY, s->repeat_penalty);
    put32(out + AT_REPEAT_LAST_N, (uint32_t)s->repeat_last_n);
    put32(out + AT_NO_REPEAT_NGRAM, (uint32_t)s->no_repeat_ngram);
    put32(out + AT_RULE, (uint32_t)s->rule);
    put32(out + AT_FLAGS, head->ignore_eos ? FLAG_IGNORE_EOS : 0);
    put32(out + AT_FORM, (uint32_t)head->form);
    put32(out + AT_DRAFT_CELLS, (uint32_t)head->draft.n_cells);
    put32(out + AT_DRAFT_CELL_BYTES, head->draft.cell_bytes);
    put32(out + AT_DRAFT_KIND_SUM, head->draft.kind_sum);
    put64(out + AT_DRAFT_FINGERPRINT, head->draft.fingerprint);
    memcpy(out + AT_KIND, head->kind, HSDI_PARKED_KIND);
    put32(out + AT_CRC, sum_of(out, AT_CRC));
}

static bool put(FILE *file, const void *bytes, size_t n_bytes)
{
    unsigned char sum[CRC_BYTES];
    put32(sum, sum_of(bytes, n_bytes));
    return fwrite(bytes, 1, n_bytes, file) == n_bytes &&
           fwrite(sum, 1, CRC_BYTES, file) == CRC_BYTES;
}

static hsd_status fail_writing(const char *path, hsd_error *err)
{
    return hsdi_fail_errno(err, HSD_EIO, path, errno, "the text cannot be written");
}

static hsd_status write_tokens(FILE *file, const char *path, const hsdi_parked *head,
                               const int32_t *tokens, hsd_error *err)
{
    size_t n = (size_t)head->n_tokens;
    unsigned char *bytes = malloc(4 * n);
    if (!bytes) {
        return hsdi_fail(err, HSD_ENOMEM, path, "%zu tokens", n);
    }
    for (size_t i = 0; i < n; i++) {
        put32(bytes + 4 * i, (uint32_t)tokens[i]);
    }
    hsd_status status = put(file, bytes, 4 * n) ? HSD_OK : fail_writing(path, err);
    free(bytes);
    return status;
}

static hsd_status write_cells(FILE *file, const char *path, const hsdi_parked *head,
                              hsdi_parked_part part, hsdi_parked_read read_cells, void *user,
                              hsd_error *err)
{
    size_t cell_bytes = (size_t)bytes_per_cell(head, part);
    int n_cells = cells_of(head, part);
    void *bytes = malloc(HSDI_PARKED_CHUNK * cell_bytes + 1);
    hsd_status status =
        bytes ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, path, "%d cells", (int)HSDI_PARKED_CHUNK);
    for (int first = 0; first < n_cells && status == HSD_OK; first += HSDI_PARKED_CHUNK) {
        int left = n_cells - first, n = left < HSDI_PARKED_CHUNK ? left : HSDI_PARKED_CHUNK;
        status = read_cells(user, part, first, n, bytes, err);
        if (status == HSD_OK && !put(file, bytes, (size_t)n * cell_bytes)) {
            status = fail_writing(path, err);
        }
    }
    free(bytes);
    return status;
}

static hsd_status write_all(FILE *file, const char *path, const hsdi_parked *head,
                            const int32_t *tokens, hsdi_parked_read read_cells, void *user,
                            hsd_error *err)
{
    unsigned char bytes[HEAD_BYTES];
    encode(head, bytes);
    hsd_status status =
        fwrite(bytes, 1, HEAD_BYTES, file) == HEAD_BYTES ? HSD_OK : fail_writing(path, err);
    if (status == HSD_OK) {
        status = write_tokens(file, path, head, tokens, err);
    }
    for (int part = 0; part < HSDI_N_PARKED_PARTS && status == HSD_OK; part++) {
        status = write_cells(file, path, head, (hsdi_parked_part)part, read_cells, user, err);
    }
    if (status == HSD_OK && (fflush(file) != 0 || fsync(fileno(file)) != 0)) {
        status = fail_writing(path, err);
    }
    return status;
}

/// The folder's entry is on the disk too. Some file systems cannot do that for a folder.
static void sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) : 0;
    (void)snprintf(folder, sizeof folder, "%.*s", n > 0 ? n : 1, n > 0 ? path : slash ? "/" : ".");
    FILE *f = fopen(folder, "r");
    if (f) {
        (void)fsync(fileno(f));
        (void)fclose(f);
    }
}

hsd_status hsdi_parked_write(const char *path, const hsdi_parked *head, const int32_t *tokens,
                             hsdi_parked_read read_cells, void *user, hsd_error *err)
{
    char beside[PATH_MAX];
    int n = snprintf(beside, sizeof beside, "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof beside) {
        return hsdi_fail(err, HSD_EINVAL, "path", "the path is too long");
    }
    int fd = mkstemp(beside);
    if (fd < 0) {
        return fail_writing(path, err);
    }
    FILE *file = fdopen(fd, "wb");
    hsd_status status =
        file ? write_all(file, path, head, tokens, read_cells, user, err) : fail_writing(path, err);
    if (!file) {
        (void)close(fd);
    } else if (fclose(file) != 0 && status == HSD_OK) {
        status = fail_writing(path, err);
    }
    if (status == HSD_OK && rename(beside, path) != 0) {
        status = fail_writing(path, err);
    }
    if (status != HSD_OK) {
        (void)unlink(beside);
        return status;
    }
    sync_folder(path);
    return HSD_OK;
}

/// Numbers that a writer could have written.
static const char *what_is_wrong(const hsdi_parked *head, uint32_t chunk, int *at)
{
    for (int i = 0; i < head->n_places && i < HSDI_PARKED_PLACES; i++) {
        if (head->cell_bytes[i] > CELL_BYTES_MOST) {
            *at = AT_CELL_BYTES + 4 * i;
            return "a cell of so many bytes";
        }
    }
    const hsdi_parked_draft *draft = &head->draft;
    const struct {
        bool holds;
        int at;
        const char *what;
    } rules[] = {
        {head->n_vocab > 0, AT_N_VOCAB, "no vocabulary"},
        {head->n_tokens > 0, AT_N_TOKENS, "no tokens"},
        {head->n_cells >= 0 && head->n_cells < head->n_tokens, AT_N_CELLS,
         "cells of tokens that are not there"},
        {chunk == HSDI_PARKED_CHUNK, AT_CHUNK, "chunks of another size"},
        {head->n_places >= 1 && head->n_places <= HSDI_PARKED_PLACES, AT_N_PLACES,
         "cells on so many devices"},
        {head->form < HSDI_N_PARKED_FORMS, AT_FORM, "neither cells nor what they are made from"},
        {draft->n_cells >= 0 && draft->n_cells < head->n_tokens, AT_DRAFT_CELLS,
         "a draft's cells of tokens that are not there"},
        {draft->cell_bytes <= CELL_BYTES_MOST, AT_DRAFT_CELL_BYTES,
         "a draft's cell of so many bytes"},
        {memchr(head->kind, 0, HSDI_PARKED_KIND) != NULL, AT_KIND, "a kind of cells without end"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (!rules[i].holds) {
            *at = rules[i].at;
            return rules[i].what;
        }
    }
    return NULL;
}

static void decode(const unsigned char *in, hsdi_parked *head)
{
    hsd_sampling *s = &head->sampling;
    head->fingerprint = get64(in + AT_FINGERPRINT);
    head->vocab_hash = get64(in + AT_VOCAB_HASH);
    head->n_vocab = (int)get32(in + AT_N_VOCAB);
    head->n_tokens = (int)get32(in + AT_N_TOKENS);
    head->n_cells = (int)get32(in + AT_N_CELLS);
    head->n_places = (int)get32(in + AT_N_PLACES);
    for (int i = 0; i < HSDI_PARKED_PLACES; i++) {
        head->cell_bytes[i] = get32(in + AT_CELL_BYTES + 4 * i);
    }
    s->temperature = get_float(in + AT_TEMPERATURE);
    s->top_k = (int)get32(in + AT_TOP_K);
    s->top_p = get_float(in + AT_TOP_P);
    s->min_p = get_float(in + AT_MIN_P);
    s->seed = get64(in + AT_SEED);
    s->repeat_penalty = get_float(in + AT_REPEAT_PENALTY);
    s->repeat_last_n = (int)get32(in + AT_REPEAT_LAST_N);
    s->no_repeat_ngram = (int)get32(in + AT_NO_REPEAT_NGRAM);
    s->rule = get32(in + AT_RULE) == HSD_RULE_RATIO ? HSD_RULE_RATIO : HSD_RULE_COUPLED;
    head->ignore_eos = (get32(in + AT_FLAGS) & FLAG_IGNORE_EOS) != 0;
    head->form = (hsdi_parked_form)get32(in + AT_FORM);
    head->draft = (hsdi_parked_draft){.n_cells = (int)get32(in + AT_DRAFT_CELLS),
                                      .cell_bytes = get32(in + AT_DRAFT_CELL_BYTES),
                                      .kind_sum = get32(in + AT_DRAFT_KIND_SUM),
                                      .fingerprint = get64(in + AT_DRAFT_FINGERPRINT)};
    memcpy(head->kind, in + AT_KIND, HSDI_PARKED_KIND);
}

/// Bytes that must be there: the file's length has been compared.
static hsd_status get(hsdi_parked_file *f, void *out, size_t n_bytes, hsd_error *err)
{
    if (fread(out, 1, n_bytes, f->stream) == n_bytes) {
        f->at += (int64_t)n_bytes;
        return HSD_OK;
    }
    return ferror(f->stream)
               ? hsdi_fail_errno(err, HSD_EIO, f->name, errno, "byte %lld on", (long long)f->at)
               : hsdi_fail_at(err, HSD_EFORMAT, f->name, f->at,
                              "it ends, though more was promised");
}

static hsd_status check_sum(const hsdi_parked_file *f, const unsigned char *bytes, size_t n_bytes,
                            const unsigned char *sum, int64_t begin, const char *what,
                            hsd_error *err)
{
    return get32(sum) == sum_of(bytes, n_bytes)
               ? HSD_OK
               : hsdi_fail_at(err, HSD_EFORMAT, f->name, begin,
                              "%s from here on are damaged: their sum is another", what);
}

static hsd_status read_head(hsdi_parked_file *f, int64_t size_bytes, hsd_error *err)
{
    unsigned char bytes[HEAD_BYTES];
    if (size_bytes < HEAD_BYTES) {
        return hsdi_fail_at(err, HSD_EFORMAT, f->name, size_bytes, "%lld bytes are no parked text",
                            (long long)size_bytes);
    }
    hsd_status status = get(f, bytes, HEAD_BYTES, err);
    if (status != HSD_OK) {
        return status;
    }
    if (memcmp(bytes, magic, sizeof magic) != 0) {
        return hsdi_fail_at(err, HSD_EFORMAT, f->name, 0, "it is no parked text");
    }
    uint32_t version = get32(bytes + AT_VERSION);
    if (version < 1 || version > HSDI_PARKED_VERSION ||
        get32(bytes + AT_HEAD_BYTES) != HEAD_BYTES) {
        return hsdi_fail_at(err, HSD_EUNSUPPORTED, f->name, AT_VERSION,
                            "version %u, and this build reads 1 to %d", version,
                            (int)HSDI_PARKED_VERSION);
    }
    status = check_sum(f, bytes, AT_CRC, bytes + AT_CRC, 0, "the bytes of the head", err);
    if (status != HSD_OK) {
        return status;
    }
    decode(bytes, &f->head);
    int at = 0;
    const char *wrong = what_is_wrong(&f->head, get32(bytes + AT_CHUNK), &at);
    if (wrong) {
        return hsdi_fail_at(err, HSD_EFORMAT, f->name, at, "%s", wrong);
    }
    int64_t promised = file_bytes(&f->head);
    if (get64(bytes + AT_FILE_BYTES) != (uint64_t)promised) {
        return hsdi_fail_at(err, HSD_EFORMAT, f->name, AT_FILE_BYTES,
                            "the length is not that of tokens and cells");
    }
    return size_bytes == promised ? HSD_OK
                                  : hsdi_fail_at(err, HSD_EFORMAT, f->name,
                                                 size_bytes < promised ? size_bytes : promised,
                                                 "it has %lld bytes and should have %lld",
                                                 (long long)size_bytes, (long long)promised);
}

/// The longest chunk, without its sum.
static size_t chunk_bytes(const hsdi_parked *head)
{
    int64_t most = 0;
    for (int part = 0; part < HSDI_N_PARKED_PARTS; part++) {
        int n = cells_of(head, (hsdi_parked_part)part);
        int64_t bytes = bytes_per_cell(head, (hsdi_parked_part)part) *
                        (n < HSDI_PARKED_CHUNK ? n : HSDI_PARKED_CHUNK);
        most = bytes > most ? bytes : most;
    }
    return (size_t)most;
}

static hsd_status read_tokens(hsdi_parked_file *f, hsd_error *err)
{
    size_t n = (size_t)f->head.n_tokens;
    unsigned char *bytes = malloc(4 * n + CRC_BYTES);
    f->tokens = calloc(n, sizeof *f->tokens);
    f->chunk = malloc(chunk_bytes(&f->head) + CRC_BYTES);
    int64_t begin = f->at;
    hsd_status status = bytes && f->tokens && f->chunk
                            ? get(f, bytes, 4 * n + CRC_BYTES, err)
                            : hsdi_fail(err, HSD_ENOMEM, f->name, "%zu tokens", n);
    if (status == HSD_OK) {
        status = check_sum(f, bytes, 4 * n, bytes + 4 * n, begin, "the tokens", err);
    }
    for (size_t i = 0; i < n && status == HSD_OK; i++) {
        f->tokens[i] = (int32_t)get32(bytes + 4 * i);
        if (f->tokens[i] < 0 || f->tokens[i] >= f->head.n_vocab) {
            status =
                hsdi_fail_at(err, HSD_EFORMAT, f->name, begin + 4 * (int64_t)i,
                             "token %zu is %d, not below %d", i, f->tokens[i], f->head.n_vocab);
        }
    }
    free(bytes);
    return status;
}

hsd_status hsdi_parked_open_stream(FILE *stream, const char *name, int64_t size_bytes,
                                   hsdi_parked_file **out, hsd_error *err)
{
    hsdi_parked_file *f = calloc(1, sizeof *f);
    if (!f) {
        (void)fclose(stream);
        return hsdi_fail(err, HSD_ENOMEM, name, "parked text");
    }
    f->stream = stream;
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    hsd_status status = read_head(f, size_bytes, err);
    if (status == HSD_OK) {
        status = read_tokens(f, err);
    }
    if (status != HSD_OK) {
        hsdi_parked_close(&f);
        return status;
    }
    *out = f;
    return HSD_OK;
}

hsd_status hsdi_parked_open(const char *path, hsdi_parked_file **out, hsd_error *err)
{
    struct stat about;
    FILE *stream = fopen(path, "rb");
    if (!stream || fstat(fileno(stream), &about) != 0) {
        hsd_status status = hsdi_fail_errno(err, HSD_EIO, path, errno, "it cannot be read");
        if (stream) {
            (void)fclose(stream);
        }
        return status;
    }
    if (!S_ISREG(about.st_mode)) {
        (void)fclose(stream);
        return hsdi_fail(err, HSD_EIO, path, "it is no regular file");
    }
    return hsdi_parked_open_stream(stream, path, (int64_t)about.st_size, out, err);
}

const hsdi_parked *hsdi_parked_head(const hsdi_parked_file *file)
{
    return &file->head;
}

const int32_t *hsdi_parked_tokens(const hsdi_parked_file *file)
{
    return file->tokens;
}

hsd_status hsdi_parked_next(hsdi_parked_file *f, hsdi_parked_part *part, int *first, int *n,
                            const void **bytes, hsd_error *err)
{
    if (f->part == HSDI_PARKED_TARGET && f->n_read == f->head.n_cells) {
        f->part = HSDI_PARKED_DRAFT;
        f->n_read = 0;
    }
    int left = cells_of(&f->head, f->part) - f->n_read;
    if (left == 0) {
        return HSD_EEND;
    }
    *part = f->part;
    *first = f->n_read;
    *n = left < HSDI_PARKED_CHUNK ? left : HSDI_PARKED_CHUNK;
    *bytes = f->chunk;
    size_t n_bytes = (size_t)*n * (size_t)bytes_per_cell(&f->head, f->part);
    int64_t begin = f->at;
    hsd_status status = get(f, f->chunk, n_bytes + CRC_BYTES, err);
    if (status == HSD_OK) {
        status = check_sum(f, f->chunk, n_bytes, f->chunk + n_bytes, begin, "the cells", err);
    }
    f->n_read += status == HSD_OK ? *n : 0;
    return status;
}

void hsdi_parked_close(hsdi_parked_file **file)
{
    hsdi_parked_file *f = *file;
    if (f) {
        (void)fclose(f->stream);
        free(f->tokens);
        free(f->chunk);
        free(f);
        *file = NULL;
    }
}
