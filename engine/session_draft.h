/// What the draft in this process has in its caches of a session's text.
///
/// A draft works on a thread of its own and has its cells in a slab like all stages. So its cells
/// of a text are found there as the beginning of another prompt would be, and cells that are put
/// there are found by the draft when it begins with their text.
#ifndef HSDI_ENGINE_SESSION_DRAFT_H
#define HSDI_ENGINE_SESSION_DRAFT_H

#include "engine/parked.h"
#include "engine/session_internal.h"

/// A model draft's cells. `text.n` 0: none.
typedef struct hsdi_draft_cells {
    hsd_engine *engine;
    hsdi_slab_text text;
    int n_cells, n_ctx; ///< of the stage in whose name they were made; 0: they were found
} hsdi_draft_cells;

/// Those of a text [n] that the session's draft has. None where it has no model draft here, or
/// texts are not shared (hsd_engine_options.share_prefixes).
///
/// Errors : HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_draft_cells_find(hsd_session *session, const int32_t *tokens, int n,
                                               hsdi_draft_cells *out, hsd_error *err);
/// Cells for the first n tokens of a text, to be written; none as above.
///
/// Errors : HSD_ENOMEM; HSD_EDEVICE.
HSD_NODISCARD hsd_status hsdi_draft_cells_make(hsd_session *session, int n, hsdi_draft_cells *out,
                                               hsd_error *err);
/// Their kind and number, for a file.
void hsdi_draft_cells_describe(const hsdi_draft_cells *cells, hsdi_parked_draft *out);

/// Bytes of cells [first, first + n) of the text.
HSD_NODISCARD hsd_status hsdi_draft_cells_read(const hsdi_draft_cells *cells, int first, int n,
                                               void *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_draft_cells_write(const hsdi_draft_cells *cells, int first, int n,
                                                const void *bytes, hsd_error *err);

/// A draft that begins with these tokens finds the cells that were made, unless memory is too short
/// to keep them. Before they are dropped.
void hsdi_draft_cells_keep(const hsdi_draft_cells *cells, const int32_t *tokens);
void hsdi_draft_cells_drop(hsdi_draft_cells *cells);

#endif
