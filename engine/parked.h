/// Parked texts: what a session needs to go on, in a file.
///
/// The file has a head (model, sampling, what a cell is), the tokens, and the bytes of the cells,
/// or of what they can be made again from, in chunks, all in little endian and each with a CRC-32;
/// cells of the draft may follow. It is written beside its place and moved there when all of it is
/// on the disk, so that what is there is whole. docs/sessions.md has the bytes.
#ifndef HSDI_ENGINE_PARKED_H
#define HSDI_ENGINE_PARKED_H

#include <hsd/engine.h>
#include <stdio.h>

enum {
    HSDI_PARKED_VERSION = 2, ///< written; 1 is read too, which has cells in any case
    HSDI_PARKED_CHUNK = 64,  ///< cells whose bytes have one sum
    HSDI_PARKED_PLACES = 8,  ///< devices that have a part of each cell
    HSDI_PARKED_KIND = 192,  ///< bytes of the cells' description
};

/// What a file has of each cell.
typedef enum hsdi_parked_form {
    HSDI_PARKED_CELLS = 0,  ///< its bytes
    HSDI_PARKED_INPUTS = 1, ///< what enters the layers (engine/inputs.h)
    HSDI_N_PARKED_FORMS = 2,
} hsdi_parked_form;

/// Whose cells.
typedef enum hsdi_parked_part {
    HSDI_PARKED_TARGET = 0,
    HSDI_PARKED_DRAFT = 1,
    HSDI_N_PARKED_PARTS = 2,
} hsdi_parked_part;

/// Cells of a draft model, of the first tokens. Who has another draft leaves them alone.
typedef struct hsdi_parked_draft {
    uint64_t fingerprint;
    uint32_t kind_sum; ///< of the description of its cells, hsdi_parked_sum
    uint32_t cell_bytes;
    int n_cells; ///< 0: there are none
} hsdi_parked_draft;

typedef struct hsdi_parked {
    uint64_t fingerprint, vocab_hash; ///< of the target
    int n_vocab;
    char kind[HSDI_PARKED_KIND]; ///< what a cell is; to be compared as a whole
    hsdi_parked_form form;
    int n_places;
    uint32_t cell_bytes[HSDI_PARKED_PLACES]; ///< in the file, so by the form
    hsd_sampling sampling;
    bool ignore_eos;
    int n_tokens;
    int n_cells; ///< the first n_cells tokens have theirs; below n_tokens
    hsdi_parked_draft draft;
} hsdi_parked;

uint32_t hsdi_parked_sum(const char *text);

/// Bytes of cells [first, first + n) of the text: place after place, [n, cell_bytes] of each.
typedef hsd_status (*hsdi_parked_read)(void *user, hsdi_parked_part part, int first, int n,
                                       void *out, hsd_error *err);

/// Write a text to `path`, where an older file is replaced at the end.
///
/// Shapes : tokens [head->n_tokens]
/// Errors : HSD_EIO with path and errno (a full disk, too); HSD_ENOMEM; what read_cells returns.
/// The
///          older file is there then as it was, and nothing beside it.
HSD_NODISCARD hsd_status hsdi_parked_write(const char *path, const hsdi_parked *head,
                                           const int32_t *tokens, hsdi_parked_read read_cells,
                                           void *user, hsd_error *err);

/// A file that is being read. Thread: one at a time.
typedef struct hsdi_parked_file hsdi_parked_file;

/// Open a file and check head, tokens and length.
///
/// Errors : HSD_EIO; HSD_EFORMAT with the byte for a file that is none, damaged or cut off;
///          HSD_EUNSUPPORTED for another version; HSD_ENOMEM.
/// Owner  : *out is owned by the caller. Head and tokens are borrowed until close.
HSD_NODISCARD hsd_status hsdi_parked_open(const char *path, hsdi_parked_file **out, hsd_error *err);
/// The same from a stream of size_bytes, which is closed with it, also on failure.
HSD_NODISCARD hsd_status hsdi_parked_open_stream(FILE *stream, const char *name, int64_t size_bytes,
                                                 hsdi_parked_file **out, hsd_error *err);
const hsdi_parked *hsdi_parked_head(const hsdi_parked_file *file);
const int32_t *hsdi_parked_tokens(const hsdi_parked_file *file); ///< [n_tokens]

/// The next cells, of the target first: *part, *first and *n say which, up to HSDI_PARKED_CHUNK.
/// *bytes as hsdi_parked_read gives them, borrowed until the next call.
///
/// Errors : HSD_EEND after the last; HSD_EFORMAT with the byte; HSD_EIO.
HSD_NODISCARD hsd_status hsdi_parked_next(hsdi_parked_file *file, hsdi_parked_part *part,
                                          int *first, int *n, const void **bytes, hsd_error *err);
void hsdi_parked_close(hsdi_parked_file **file);

#endif
