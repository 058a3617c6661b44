/// Any bytes as a parked text: no read outside, an error has a place and a sentence, what is read
/// is as long as it says. The sums are made right in half of the inputs, so that what lies behind
/// them is reached.
#include "engine/parked.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_BYTES = 512, SUM_BYTES = 4 };

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void put_sum(uint8_t *bytes, size_t n)
{
    uint32_t sum = (uint32_t)crc32_z(0, bytes, n);
    for (int i = 0; i < SUM_BYTES; i++) {
        bytes[n + (size_t)i] = (uint8_t)(sum >> 8 * i);
    }
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/// Chunks of n_cells cells from byte `at` on get their sums, as far as the input goes.
static size_t mend_chunks(uint8_t *bytes, size_t size, size_t at, uint32_t n_cells,
                          uint64_t cell_bytes)
{
    for (uint32_t n, left = n_cells; left > 0; left -= n) {
        n = left < HSDI_PARKED_CHUNK ? left : HSDI_PARKED_CHUNK;
        if (cell_bytes > size || size - at < n * cell_bytes + SUM_BYTES) {
            return size;
        }
        put_sum(bytes + at, (size_t)(n * cell_bytes));
        at += (size_t)(n * cell_bytes) + SUM_BYTES;
    }
    return at;
}

/// Head, tokens and cells get their sums, and the length is the input's.
static void mend(uint8_t *bytes, size_t size)
{
    if (size < HEAD_BYTES) {
        return;
    }
    for (int i = 0; i < 8; i++) {
        bytes[16 + i] = (uint8_t)((uint64_t)size >> 8 * i);
    }
    put_sum(bytes, HEAD_BYTES - SUM_BYTES);
    size_t n = 4 * (size_t)get32(bytes + 44);
    if (n > size - HEAD_BYTES || size - HEAD_BYTES - n < SUM_BYTES) {
        return;
    }
    put_sum(bytes + HEAD_BYTES, n);
    uint64_t cell_bytes = 0;
    for (uint32_t i = 0; i < get32(bytes + 56) && i < HSDI_PARKED_PLACES; i++) {
        cell_bytes += get32(bytes + 60 + 4 * i);
    }
    size_t at = mend_chunks(bytes, size, HEAD_BYTES + n + SUM_BYTES, get32(bytes + 48), cell_bytes);
    if (get32(bytes + 8) > 1) {
        (void)mend_chunks(bytes, size, at, get32(bytes + 140), get32(bytes + 144));
    }
}

static void read_all(const uint8_t *bytes, size_t size)
{
    hsdi_parked_file *file = NULL;
    hsd_error err = {.byte_offset = -1};
    FILE *stream = fmemopen((void *)(uintptr_t)bytes, size, "rb");
    must(stream != NULL);
    hsd_status status = hsdi_parked_open_stream(stream, "fuzz", (int64_t)size, &file, &err);
    if (status == HSD_OK) {
        const hsdi_parked *head = hsdi_parked_head(file);
        const int32_t *tokens = hsdi_parked_tokens(file);
        hsdi_parked_part part;
        int first, n, n_read[HSDI_N_PARKED_PARTS] = {0};
        const void *cells;
        for (int i = 0; i < head->n_tokens; i++) {
            must(tokens[i] >= 0 && tokens[i] < head->n_vocab);
        }
        must(head->n_cells < head->n_tokens && strlen(head->kind) < HSDI_PARKED_KIND);
        must(head->draft.n_cells < head->n_tokens && head->form < HSDI_N_PARKED_FORMS);
        while ((status = hsdi_parked_next(file, &part, &first, &n, &cells, &err)) == HSD_OK) {
            must(part == HSDI_PARKED_DRAFT || n_read[HSDI_PARKED_DRAFT] == 0);
            must(first == n_read[part] && n >= 1 && n <= HSDI_PARKED_CHUNK);
            n_read[part] += n;
        }
        must(status != HSD_EEND || (n_read[HSDI_PARKED_TARGET] == head->n_cells &&
                                    n_read[HSDI_PARKED_DRAFT] == head->draft.n_cells));
    }
    hsdi_parked_close(&file);
    must(status == HSD_EEND || (err.where[0] && err.message[0]));
    must(status == HSD_EEND || status == HSD_ENOMEM ||
         (err.byte_offset >= 0 && err.byte_offset <= (int64_t)size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    uint8_t *bytes = malloc(size);
    must(bytes != NULL);
    memcpy(bytes, data, size);
    if (bytes[size - 1] % 2) {
        mend(bytes, size - 1);
    }
    if (size > 1) {
        read_all(bytes, size - 1);
    }
    free(bytes);
    return 0;
}
