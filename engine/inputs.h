/// What enters each layer of a model, for the tokens of a text, and cells made again from it.
///
/// Where every query head has keys and values of its own, these rows are half as large as keys and
/// values, so a parked text may have them instead. They are computed from cells that are there, in
/// which nothing is changed, and the products that a pass stores are computed from them: so the
/// cells that come back are the old ones bit for bit. The row that enters the first layer is not
/// among them: token and position tell it.
#ifndef HSDI_ENGINE_INPUTS_H
#define HSDI_ENGINE_INPUTS_H

#include "engine/passes.h"

/// Graphs and rows for the places of some passes. Thread: as the passes, which must outlive it.
typedef struct hsdi_inputs hsdi_inputs;

/// Bytes of a token's rows at each place. Shapes: n_bytes [HSDI_SLAB_PLACES]; returns how many.
int hsdi_inputs_places(const hsdi_passes *passes, size_t *n_bytes);

/// From cells to rows, or from rows to cells.
///
/// Owner  : *out is owned by the caller.
/// Errors : HSD_ENOMEM; HSD_EDEVICE; HSD_EUNSUPPORTED for more than HSDI_MAX_GRAPHS graphs.
HSD_NODISCARD hsd_status hsdi_inputs_open(hsdi_passes *passes, bool to_cells, hsdi_inputs **out,
                                          hsd_error *err);
/// Sets *inputs to NULL. NULL is allowed.
void hsdi_inputs_close(hsdi_inputs **inputs);

/// Tokens of a text from position `first` on.
typedef struct hsdi_inputs_text {
    const int32_t *tokens; ///< [first + n]
    const int32_t *cells;  ///< [first + n], of which those before `first` are read only
    int first, n;          ///< n at most HSDI_STAGE_ROWS
} hsdi_inputs_text;

/// Shapes : out, from one place after the other [n, bytes at the place], f32.
/// Cost   : a pass of n rows without the products for keys, values and logits.
HSD_NODISCARD hsd_status hsdi_inputs_read(hsdi_inputs *inputs, const hsdi_inputs_text *text,
                                          void *out, hsd_error *err);
/// The text's cells [first, first + n) are written; nothing else is needed to be there.
///
/// Cost   : the products for keys and values of n rows.
/// Proof  : tests/engine/test_inputs.c "cells that were made again are the old ones bit for bit"
HSD_NODISCARD hsd_status hsdi_inputs_write(hsdi_inputs *inputs, const hsdi_inputs_text *text,
                                           const void *bytes, hsd_error *err);

#endif
