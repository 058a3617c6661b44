/// What EL-attention (arXiv:2105.04779) needs of a model: where it is exact, and its operands.
///
/// A layer that caches its normed input H instead of keys and values multiplies its queries by each
/// head's key matrix, attends over H as a single head, and multiplies what comes out by each head's
/// value matrix. Queries and value matrices are rows of the file's own; key matrices are needed
/// transposed, which is a copy.
#ifndef HSDI_ENGINE_EL_H
#define HSDI_ENGINE_EL_H

#include "engine/model.h"
#include "kernels/kernels.h"

/// Rows [row, row + n_rows) of a tensor; `t` NULL: there is none.
typedef struct hsdi_rows_of {
    const hsdi_gguf_tensor *t;
    int64_t row, n_rows;
} hsdi_rows_of;

/// A layer's query, key and value rows, and their biases (elements of a vector).
typedef struct hsdi_el_parts {
    hsdi_rows_of q, k, v, q_bias, v_bias;
} hsdi_el_parts;

/// Whether the layers of a model can cache their input: not where positions turn queries and keys
/// or keys are normed (the product with the key matrix would be wrong), nor where heads share keys
/// (keys and values are no larger then).
///
/// Errors : HSD_EUNSUPPORTED with the reason.
HSD_NODISCARD hsd_status hsdi_el_check(const hsdi_model *model, hsd_error *err);

/// Of a model that passed hsdi_el_check.
hsdi_el_parts hsdi_el_split(const hsdi_model *model, int i_layer);

/// First byte of the rows.
const void *hsdi_rows_data(const hsdi_rows_of *rows);

/// Type of transposed key matrices: the file's own where it has no blocks, else F16; F32 where that
/// would not hold a number.
hsdi_type hsdi_el_key_type(hsdi_type type);

/// The key matrices of all heads, each transposed: [n_head, n_embd, d_head] of *type.
///
/// Result : rounded to F16 where the file's type has blocks, by at most 2^-11 of each number.
/// Owner  : *out is the caller's, free().
/// Errors : HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_el_keys(const hsdi_model *model, const hsdi_rows_of *keys,
                                      hsdi_type *type, void **out, hsd_error *err);

#endif
