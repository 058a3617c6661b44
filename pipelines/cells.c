/// A stack of free cells; a lower number is handed out first, so that small texts stay compact.
///
/// Blocks are only given back between texts: while one grows, cells that come back are soon taken
/// again.
#include <assert.h>
#include <pipelines/cells.h>
#include <stdlib.h>
#include <string.h>

static int n_held_most(const hsdi_cells *cells)
{
    return hsdi_blocks_needed(cells->n_cells, cells->n_ctx);
}

hsd_status hsdi_cells_init(hsdi_cells *cells, int n_cells, int n_ctx, hsdi_blocks *blocks)
{
    *cells = (hsdi_cells){0};
    if (n_cells < 1 || n_ctx < 1) {
        return HSD_EINVAL;
    }
    cells->n_cells = n_cells;
    cells->n_ctx = n_ctx;
    size_t n_held = (size_t)n_held_most(cells);
    size_t n_at_hand = blocks ? n_held * HSDI_BLOCK_CELLS : (size_t)n_cells;
    cells->at_hand = calloc(n_at_hand, sizeof *cells->at_hand);
    cells->trunk = calloc((size_t)n_ctx, sizeof *cells->trunk);
    if (blocks) {
        cells->held = calloc(n_held, sizeof *cells->held);
        cells->numbers = calloc(2 * n_held, sizeof *cells->numbers);
    }
    if (!cells->at_hand || !cells->trunk || (blocks && (!cells->held || !cells->numbers))) {
        hsdi_cells_fini(cells);
        return HSD_ENOMEM;
    }
    cells->blocks = blocks;
    hsdi_cells_reset(cells);
    return HSD_OK;
}

void hsdi_cells_fini(hsdi_cells *cells)
{
    if (cells->blocks) {
        hsdi_cells_reset(cells);
    }
    free(cells->at_hand);
    free(cells->trunk);
    free(cells->held);
    free(cells->numbers);
    *cells = (hsdi_cells){0};
}

/// Numbers of the blocks that are held.
static const int32_t *numbers_of(hsdi_cells *cells)
{
    for (int i = 0; i < cells->n_held; i++) {
        cells->numbers[i] = cells->held[i].block;
    }
    return cells->numbers;
}

void hsdi_cells_reset(hsdi_cells *cells)
{
    cells->n_trunk = 0;
    cells->n_free = cells->n_cells;
    cells->n_at_hand = 0;
    if (cells->blocks) {
        hsdi_blocks_drop(cells->blocks, numbers_of(cells), cells->n_held);
        cells->n_held = 0;
        return;
    }
    for (int i = 0; i < cells->n_cells; i++) {
        cells->at_hand[i] = cells->n_cells - 1 - i;
    }
    cells->n_at_hand = cells->n_cells;
}

/// The cells of a block whose bits are set are at hand, the first one next.
static void put_at_hand(hsdi_cells *cells, int32_t block, uint32_t bits)
{
    for (int i = HSDI_BLOCK_CELLS - 1; i >= 0; i--) {
        if (bits >> i & 1) {
            cells->at_hand[cells->n_at_hand++] = block * HSDI_BLOCK_CELLS + i;
        }
    }
}

static bool take_block(hsdi_cells *cells)
{
    if (!cells->blocks || cells->n_held == n_held_most(cells)) {
        return false;
    }
    int block = hsdi_blocks_take(cells->blocks);
    if (block >= 0) {
        cells->held[cells->n_held++] = (hsdi_cells_block){.block = block, .is_own = true};
        put_at_hand(cells, block, UINT32_MAX);
    }
    return block >= 0;
}

int32_t hsdi_cells_take(hsdi_cells *cells)
{
    if (cells->n_free == 0 || (cells->n_at_hand == 0 && !take_block(cells))) {
        return -1;
    }
    cells->n_free--;
    return cells->at_hand[--cells->n_at_hand];
}

void hsdi_cells_give(hsdi_cells *cells, int32_t cell)
{
    assert(cell >= 0 && cells->n_free < cells->n_cells);
    assert(cells->blocks || cell < cells->n_cells);
    cells->n_free++;
    cells->at_hand[cells->n_at_hand++] = cell;
}

void hsdi_cells_push(hsdi_cells *cells, int32_t cell)
{
    assert(cell >= 0 && cells->n_trunk < cells->n_ctx);
    cells->trunk[cells->n_trunk++] = cell;
}

/// The held block of a cell; *hint is where to look first.
static hsdi_cells_block *held_of(hsdi_cells *cells, int32_t cell, int *hint)
{
    int32_t block = cell / HSDI_BLOCK_CELLS;
    if (*hint >= cells->n_held || cells->held[*hint].block != block) {
        for (*hint = 0; cells->held[*hint].block != block; ++*hint) {
            assert(*hint < cells->n_held - 1);
        }
    }
    return &cells->held[*hint];
}

/// Which cells of each held block the first n positions need. Returns how many blocks that are.
static int mark_live(hsdi_cells *cells, int n)
{
    int hint = 0, n_live = 0;
    for (int i = 0; i < cells->n_held; i++) {
        cells->held[i].live = 0;
    }
    for (int i = 0; i < n; i++) {
        hsdi_cells_block *held = held_of(cells, cells->trunk[i], &hint);
        n_live += held->live == 0;
        held->live |= UINT32_C(1) << cells->trunk[i] % HSDI_BLOCK_CELLS;
    }
    return n_live;
}

/// Drop the blocks that nothing is left in.
static void drop_dead(hsdi_cells *cells)
{
    int n_left = 0, n_dead = 0;
    for (int i = 0; i < cells->n_held; i++) {
        if (cells->held[i].live == 0) {
            cells->numbers[n_dead++] = cells->held[i].block;
        } else {
            cells->held[n_left++] = cells->held[i];
        }
    }
    cells->n_held = n_left;
    hsdi_blocks_drop(cells->blocks, cells->numbers, n_dead);
}

void hsdi_cells_truncate(hsdi_cells *cells, int n)
{
    if (!cells->blocks) {
        while (cells->n_trunk > n) {
            hsdi_cells_give(cells, cells->trunk[--cells->n_trunk]);
        }
        return;
    }
    assert(cells->n_free == cells->n_cells - cells->n_trunk);
    n = n < cells->n_trunk ? n : cells->n_trunk;
    int n_spare = hsdi_blocks_spare(cells->n_cells, cells->n_ctx);
    while (mark_live(cells, n) > n / HSDI_BLOCK_CELLS + n_spare) {
        n -= n < HSDI_BLOCK_CELLS ? n : HSDI_BLOCK_CELLS;
    }
    drop_dead(cells);
    cells->n_trunk = n;
    cells->n_free = cells->n_cells - n;
    cells->n_at_hand = 0;
    for (int i = cells->n_held - 1; i >= 0; i--) {
        hsdi_cells_block *held = &cells->held[i];
        if (held->named && !hsdi_blocks_is_shared(cells->blocks, held->block)) {
            held->named = 0;
        }
        put_at_hand(cells, held->block, held->is_own ? ~(held->live | held->named) : 0);
    }
}

void hsdi_cells_keep(hsdi_cells *cells, const int32_t *text)
{
    int hint = 0;
    if (!cells->blocks || cells->n_trunk < HSDI_SHARED_LEAST) {
        return;
    }
    for (int i = 0; i < cells->n_trunk; i++) {
        held_of(cells, cells->trunk[i], &hint)->named |= UINT32_C(1)
                                                         << cells->trunk[i] % HSDI_BLOCK_CELLS;
    }
    hsdi_blocks_keep(cells->blocks, text, cells->trunk, cells->n_trunk);
}

/// The trunk becomes what others have of a text, if that is at least n_least.
static bool find(hsdi_cells *cells, const int32_t *next, int n, int n_least)
{
    int32_t *found = cells->numbers + n_held_most(cells);
    const hsdi_blocks_query query = {.tokens = next,
                                     .n = n,
                                     .n_least = n_least,
                                     .n_spare = hsdi_blocks_spare(cells->n_cells, cells->n_ctx),
                                     .had = numbers_of(cells),
                                     .n_had = cells->n_held};
    int n_held;
    int n_found = hsdi_blocks_find(cells->blocks, &query, cells->trunk, found, &n_held);
    if (n_found == 0) {
        return false;
    }
    for (int i = 0; i < n_held; i++) {
        cells->held[i] = (hsdi_cells_block){.block = found[i]};
    }
    cells->n_held = n_held;
    cells->n_trunk = n_found;
    cells->n_free = cells->n_cells - n_found;
    cells->n_at_hand = 0;
    return true;
}

int hsdi_cells_begin(hsdi_cells *cells, const int32_t *text, const int32_t *next, int n,
                     bool *is_found)
{
    int n_same = 0, most = n < cells->n_trunk ? n : cells->n_trunk;
    while (n_same < most && text[n_same] == next[n_same]) {
        n_same++;
    }
    *is_found = false;
    if (cells->blocks) {
        hsdi_cells_keep(cells, text);
        *is_found = n > 0 && find(cells, next, n, n_same + HSDI_SHARED_LEAST);
    }
    if (!*is_found) {
        hsdi_cells_truncate(cells, n_same);
    }
    return cells->n_trunk;
}
