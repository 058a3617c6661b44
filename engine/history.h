/// The texts behind a stage's rows.
///
/// A stage sees the token and the cell of every row that passes; this keeps cell -> token, so that
/// the text of any row (trunk, path, itself) can be read, and an index of the trunk that grows and
/// shrinks with it: where did these n - 1 tokens occur before, and which tokens occur at all.
#ifndef HSDI_ENGINE_HISTORY_H
#define HSDI_ENGINE_HISTORY_H

#include <hsd/status.h>
#include <pipelines/stage.h>

/// Thread: one at a time. No allocation after creation.
typedef struct hsdi_history hsdi_history;

/// `ngram` is the n whose earlier occurrences hsdi_history_earlier finds; 0: none are indexed.
///
/// Errors : HSD_EINVAL for counts below 1, HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_history_create(int n_vocab, int n_ctx, int n_cells, int ngram,
                                             hsdi_history **out, hsd_error *err);
void hsdi_history_destroy(hsdi_history **history);

/// Take note of rows before anything is asked about them: all rows, also those without output.
///
/// Tokens, cells and positions must be within the limits given at creation.
/// Cost: one comparison of the trunk with the known one, and work per token that is new on it.
void hsdi_history_note(hsdi_history *history, const hsdi_rows *rows);

/// Cells that others have written are the beginning of the trunk to come. Shapes: tokens [n], cells
/// [n].
void hsdi_history_found(hsdi_history *history, const int32_t *tokens, const int32_t *cells, int n);

/// The text up to and with row r of the rows noted last; borrowed until the next call.
///
/// Shapes : *text [result]; the result is pos[r] + 1. Cost: O(n_path[r]).
int hsdi_history_text(hsdi_history *history, const hsdi_rows *rows, int r, const int32_t **text);

/// The tokens that followed the last n - 1 ones of the text read last, wherever those occurred
/// before in it; for n = 1 all its tokens. A token may be listed several times.
///
/// Shapes : out [n_ctx]; returns how many. Cost: the occurrences, and a look at each position of
///          the path; the trunk is not searched.
int hsdi_history_earlier(const hsdi_history *history, int32_t *out);

/// The tokens among the last n_last (-1: all) of the text read last; some several times.
///
/// Shapes : out [n_ctx]; returns how many. Cost: at most n_last; for the whole text the path and
///          one step for each different token of the trunk.
int hsdi_history_recent(const hsdi_history *history, int n_last, int32_t *out);

#endif
