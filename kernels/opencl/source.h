/// The text of kernels/opencl/*.cl, embedded by cmake/HsdEmbed.cmake. Static.
///
/// There is one program of everything but products, and one per product, built when it is first
/// asked for: which ones a device uses is a matter of its table (devices/tiles.h). Both are
/// built with -D for GROUP and for the places of a row's facts in the table of a submission, below:
/// JOB_INTS ints per row, then the cells of trunks and paths, and records of drawing.
#ifndef HSDI_KERNELS_OPENCL_SOURCE_H
#define HSDI_KERNELS_OPENCL_SOURCE_H

#include <stddef.h>

enum { HSDI_OPENCL_GROUP = 64 };    ///< work-items per group, of every kernel but products
enum { HSDI_OPENCL_CHUNK = 256 };   ///< positions that attention sees before it meets the others
enum { HSDI_OPENCL_HEAD_ROWS = 4 }; ///< rows of a work-item in a product per head

enum {
    HSDI_JOB_TOKEN = 0,
    HSDI_JOB_POS = 1,
    HSDI_JOB_CELL = 2,
    HSDI_JOB_TRUNK = 3,   ///< where in the table the trunk's cells begin
    HSDI_JOB_N_TRUNK = 4, ///< their number
    HSDI_JOB_PATH = 5,
    HSDI_JOB_N_PATH = 6,
    HSDI_JOB_DRAW = 7, ///< where in the table the row's record begins, see record.h
    HSDI_JOB_INTS = 8, ///< per row
};

extern const unsigned char hsdi_opencl_source[];
extern const size_t hsdi_opencl_source_bytes;

/// Products: with -D PRODUCT_KIND, PRODUCT_TYPE, PRODUCT_ROWS, PRODUCT_WIDE (ITEM, Q8_0, 4, 2) the
/// kernel "item4x2_Q8_0" alone. Static.
extern const unsigned char hsdi_opencl_products[];
extern const size_t hsdi_opencl_products_bytes;

/// All of it compiled to SPIR-V with the values above (cmake/HsdSpirv.cmake), with the products
/// that product.cl lists, where the build found a compiler for it. Static.
extern const unsigned char hsdi_opencl_spirv[];
extern const size_t hsdi_opencl_spirv_bytes;

#endif
