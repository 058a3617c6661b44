/// Weights laid out anew for kernels of kind "panels" (kernels/opencl/panels.cl): the sixteen
/// elements that a work-item takes of 256 are neighbours, and scales come behind a row's elements.
#ifndef HSDI_DEVICES_LAUNCH_PANELS_H
#define HSDI_DEVICES_LAUNCH_PANELS_H

#include "kernels/types.h"

#include <stdint.h>

/// Bytes of a row of n_in elements, a multiple of 16.
size_t hsdi_panels_row_bytes(hsdi_type type, int n_in);

/// Rows as in a file -> laid out anew; the type is one that has panels (devices/tiles.h).
///
/// Shapes : from [n_rows, n_in] in the file's blocks; to [n_rows, hsdi_panels_row_bytes].
/// Proof  : tests/devices/test_opencl_kernels.c "weights laid out anew give the same bits"
void hsdi_panels_fill(hsdi_type type, int n_rows, int n_in, const uint8_t *from, uint8_t *to);

#endif
