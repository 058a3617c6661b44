/// The text of kernels/opencl/*.cl, embedded by cmake/HsdEmbed.cmake. Static.
///
/// The program is built with -D for GROUP, WIDE_.. and for the places of a row's facts in the table
/// of a submission, below: JOB_INTS ints per row, then the cells of trunks and paths, and
/// records of drawing.
#ifndef HSDI_KERNELS_OPENCL_SOURCE_H
#define HSDI_KERNELS_OPENCL_SOURCE_H

#include <stddef.h>

enum { HSDI_OPENCL_GROUP = 64 }; ///< work-items per group, of every kernel

/// Output channels per work-item in products of one, four and eight rows. Measured on PoCL with
/// AVX-512, where it is a matter of registers and of how long a sum takes.
enum {
    HSDI_OPENCL_WIDE_ONE = 1,
    HSDI_OPENCL_WIDE_ONE_K = 2, ///< Q4_K, Q5_K
    HSDI_OPENCL_WIDE_FOUR = 2,
    HSDI_OPENCL_WIDE_EIGHT = 2,
    HSDI_OPENCL_WIDE_EIGHT_K = 1, ///< Q4_K, Q5_K, Q6_K
};

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

/// The same compiled to SPIR-V with the values above (cmake/HsdSpirv.cmake), where the build found
/// a compiler for it. Static.
extern const unsigned char hsdi_opencl_spirv[];
extern const size_t hsdi_opencl_spirv_bytes;

#endif
