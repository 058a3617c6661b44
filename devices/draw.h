/// How a row is drawn from on the device: data of a job, not of a graph.
#ifndef HSDI_DEVICES_DRAW_H
#define HSDI_DEVICES_DRAW_H

#include <hsd/status.h>
#include <stdbool.h>
#include <stdint.h>

/// Tokens that rules of the text touch in one row at most.
enum { HSDI_DRAW_EDITS_MAX = 4096 };

/// The settings of one row, in the order in which they apply. All that is asked for is rounded
/// exactly, so it is what the same steps give on the host.
typedef struct hsdi_draw {
    int n_banned, n_penalised;
    const int32_t *tokens; ///< [n_banned] get -inf, [n_penalised] are penalised; no token twice.
                           ///< Borrowed like the job
    float penalty;         ///< above 0: a logit above 0 is divided by it, another multiplied
    int top_k;             ///< so many of the best are kept; 0: all
    uint32_t top_p;        ///< of the weight, in parts of 2^32; 0: all. See engine/sampler.c
    float gap;             ///< -inf, or at most 0: what is below the best logit + gap is cut
    float scale;           ///< of what is left
    bool noisy;            ///< then Gumbel noise by the next two is added
    uint64_t seed;
    int64_t position;
} hsdi_draw;

/// Columns of what HSDI_OP_DRAW makes of a row: n times (score, token), best first, the lower token
/// first among equals, cut short as in hsdi_top_width; then, where they are wanted, the best scaled
/// logit and the sum of exp(scaled - it) over what is kept: the log-probability of a token is its
/// score, less those two, and less its noise.
static inline int hsdi_draw_width(int n, bool with_sum)
{
    return 2 * n + 2 * with_sum;
}

/// Errors : HSD_EINVAL with the row, for a vocabulary of n_vocab.
HSD_NODISCARD hsd_status hsdi_draw_check(const hsdi_draw *draws, int n_rows, int n_vocab,
                                         hsd_error *err);

#endif
