/// How a row is drawn from, as HSDI_OP_DRAW finds it in the table of a submission: these numbers,
/// then the tokens that are ruled out, then those that are penalised. For C and OpenCL C.
#ifndef HSDI_KERNELS_OPENCL_RECORD_H
#define HSDI_KERNELS_OPENCL_RECORD_H

enum {
    HSDI_RECORD_SEED = 0,     ///< two ints, the lower half first
    HSDI_RECORD_POSITION = 2, ///< two ints
    HSDI_RECORD_NOISY = 4,    ///< 0: no noise
    HSDI_RECORD_SCALE = 5,    ///< float
    HSDI_RECORD_GAP = 6,      ///< float; what lies lower than this below the best is cut
    HSDI_RECORD_TOP_K = 7,    ///< 0: not cut so
    HSDI_RECORD_TOP_P = 8,    ///< times 2^32; 0: not cut so
    HSDI_RECORD_N_BANNED = 9,
    HSDI_RECORD_N_PENALISED = 10,
    HSDI_RECORD_PENALTY = 11, ///< float
    HSDI_RECORD_INVERSE = 12, ///< float nearest to 1 / penalty
    HSDI_RECORD_INTS = 13,
};

#endif
