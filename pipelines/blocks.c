/// See blocks.h.
///
/// A block is free, or somebody needs it: those who hold it, and the kept texts that name a cell of
/// it. Kept texts are few and long, so that finding one is a comparison with each of them.
#include <assert.h>
#include <pipelines/blocks.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS_MOST = INT32_MAX / HSDI_BLOCK_CELLS };

/// A text that was evaluated.
typedef struct kept {
    struct kept *next; ///< one that was used before this one
    int n, n_blocks;
    int32_t *tokens, *cells, *blocks; ///< [n], [n], [n_blocks]; one allocation with it
} kept;

typedef struct block {
    int32_t n_holders, n_texts;
    bool is_filled; ///< it was taken, and what it held was not discarded since
    bool stays;     ///< while others are discarded
} block;

struct hsdi_blocks {
    hsdi_blocks_config config;
    pthread_mutex_t lock; ///< guards what follows
    int n_promised, n_free, n_kept, n_texts;
    int n_idle;    ///< free and filled
    int32_t *free; ///< [n_free] stack
    block *blocks; ///< [n_blocks]
    kept *latest;
};

hsd_status hsdi_blocks_create(const hsdi_blocks_config *config, hsdi_blocks **out)
{
    if (config->n_blocks < 1 || config->n_blocks > BLOCKS_MOST || config->n_kept_most < 0) {
        return HSD_EINVAL;
    }
    hsdi_blocks *b = calloc(1, sizeof *b);
    if (!b) {
        return HSD_ENOMEM;
    }
    b->config = *config;
    b->free = calloc((size_t)config->n_blocks, sizeof *b->free);
    b->blocks = calloc((size_t)config->n_blocks, sizeof *b->blocks);
    if (!b->free || !b->blocks) {
        free(b->free);
        free(b->blocks);
        free(b);
        return HSD_ENOMEM;
    }
    pthread_mutex_init(&b->lock, NULL);
    for (int i = 0; i < config->n_blocks; i++) {
        b->free[i] = config->n_blocks - 1 - i;
    }
    b->n_free = config->n_blocks;
    *out = b;
    return HSD_OK;
}

int hsdi_blocks_spare(int n_cells, int n_ctx)
{
    return 3 + (n_cells - n_ctx) / HSDI_BLOCK_CELLS;
}

int hsdi_blocks_needed(int n_cells, int n_ctx)
{
    // A beginning of n tokens in n / 32 + spare blocks, and n_cells - n cells in blocks of their
    // own.
    return n_cells / HSDI_BLOCK_CELLS + 2 + hsdi_blocks_spare(n_cells, n_ctx);
}

/// A block that only texts need comes (by 1) or goes (by -1).
static void count_kept(hsdi_blocks *b, int by)
{
    b->n_kept += by;
    if (b->config.room_bytes) {
        atomic_fetch_sub(b->config.room_bytes, by * b->config.block_bytes);
    }
}

static void hold(hsdi_blocks *b, int32_t i)
{
    block *at = &b->blocks[i];
    if (at->n_holders++ == 0 && at->n_texts > 0) {
        count_kept(b, -1);
    }
}

/// Nobody needs the block any more.
static void put_free(hsdi_blocks *b, int32_t i)
{
    b->free[b->n_free++] = i;
    b->n_idle += b->blocks[i].is_filled;
}

static bool may_go(const block *at)
{
    return at->n_holders == 0 && at->n_texts == 0 && !at->stays;
}

/// Where many blocks are free and filled, discard all but those that are taken next. Neighbours go
/// together: their parts of pages may be whole pages then.
static void discard_idle(hsdi_blocks *b)
{
    if (!b->config.discard || b->n_idle <= b->config.n_idle_most) {
        return;
    }
    int n_left = b->config.n_idle_most / 2;
    for (int i = b->n_free - 1; i >= 0; i--) {
        block *at = &b->blocks[b->free[i]];
        at->stays = at->is_filled && n_left > 0;
        n_left -= at->stays;
    }
    for (int i = 0, end; i < b->config.n_blocks; i = end + 1) {
        int n_filled = 0;
        for (end = i; end < b->config.n_blocks && may_go(&b->blocks[end]); end++) {
            n_filled += b->blocks[end].is_filled;
            b->blocks[end].is_filled = false;
        }
        if (n_filled > 0) {
            b->config.discard(b->config.user, i, end - i);
        }
        b->n_idle -= n_filled;
    }
}

static void drop(hsdi_blocks *b, int32_t i)
{
    block *at = &b->blocks[i];
    assert(at->n_holders > 0);
    if (--at->n_holders > 0) {
        return;
    }
    if (at->n_texts > 0) {
        count_kept(b, 1);
    } else {
        put_free(b, i);
    }
}

/// A text no longer needs the block.
static void leave(hsdi_blocks *b, int32_t i)
{
    block *at = &b->blocks[i];
    if (--at->n_texts == 0 && at->n_holders == 0) {
        count_kept(b, -1);
        put_free(b, i);
    }
}

/// Forget the text behind a link.
static void forget(hsdi_blocks *b, kept **link)
{
    kept *text = *link;
    *link = text->next;
    b->n_texts--;
    for (int i = 0; i < text->n_blocks; i++) {
        leave(b, text->blocks[i]);
    }
    free(text);
}

static bool is_idle(const hsdi_blocks *b, const kept *text)
{
    int i = 0;
    while (i < text->n_blocks && b->blocks[text->blocks[i]].n_holders > 0) {
        i++;
    }
    return i < text->n_blocks;
}

/// Forget the text used longest ago, of those that alone need a block if there is one.
static void forget_oldest(hsdi_blocks *b)
{
    kept **oldest = NULL, **idle = NULL;
    for (kept **link = &b->latest; *link; link = &(*link)->next) {
        oldest = link;
        idle = is_idle(b, *link) ? link : idle;
    }
    if (oldest) {
        forget(b, idle ? idle : oldest);
    }
}

static bool is_too_much(const hsdi_blocks *b)
{
    return b->n_texts > HSDI_KEPT_TEXTS || b->n_kept > b->config.n_kept_most ||
           (b->n_kept > 0 && b->config.room_bytes && atomic_load(b->config.room_bytes) < 0);
}

static void trim(hsdi_blocks *b)
{
    while (b->latest && is_too_much(b)) {
        forget_oldest(b);
    }
}

void hsdi_blocks_trim(hsdi_blocks *b)
{
    pthread_mutex_lock(&b->lock);
    trim(b);
    discard_idle(b);
    pthread_mutex_unlock(&b->lock);
}

void hsdi_blocks_forget(hsdi_blocks *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->latest) {
        forget(b, &b->latest);
    }
    discard_idle(b);
    pthread_mutex_unlock(&b->lock);
}

void hsdi_blocks_destroy(hsdi_blocks **blocks)
{
    hsdi_blocks *b = *blocks;
    if (b) {
        hsdi_blocks_forget(b);
        assert(b->n_free == b->config.n_blocks);
        pthread_mutex_destroy(&b->lock);
        free(b->free);
        free(b->blocks);
        free(b);
        *blocks = NULL;
    }
}

bool hsdi_blocks_promise(hsdi_blocks *b, int n)
{
    pthread_mutex_lock(&b->lock);
    bool fits = n <= b->config.n_blocks - b->n_promised;
    b->n_promised += fits ? n : 0;
    pthread_mutex_unlock(&b->lock);
    return fits;
}

void hsdi_blocks_release(hsdi_blocks *b, int n)
{
    pthread_mutex_lock(&b->lock);
    b->n_promised -= n;
    pthread_mutex_unlock(&b->lock);
}

int hsdi_blocks_unpromised(hsdi_blocks *b)
{
    pthread_mutex_lock(&b->lock);
    int n = b->config.n_blocks - b->n_promised;
    pthread_mutex_unlock(&b->lock);
    return n;
}

int hsdi_blocks_take(hsdi_blocks *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->n_free == 0 && b->latest) {
        forget_oldest(b);
    }
    int i = b->n_free > 0 ? b->free[--b->n_free] : -1;
    if (i >= 0) {
        b->n_idle -= b->blocks[i].is_filled;
        b->blocks[i].is_filled = true;
        hold(b, i);
    }
    pthread_mutex_unlock(&b->lock);
    return i;
}

void hsdi_blocks_drop(hsdi_blocks *b, const int32_t *held, int n)
{
    pthread_mutex_lock(&b->lock);
    for (int i = n - 1; i >= 0; i--) { // the first one is the next to be taken
        drop(b, held[i]);
    }
    trim(b);
    discard_idle(b);
    pthread_mutex_unlock(&b->lock);
}

bool hsdi_blocks_is_shared(hsdi_blocks *b, int32_t i)
{
    pthread_mutex_lock(&b->lock);
    bool is_shared = b->blocks[i].n_holders + b->blocks[i].n_texts > 1;
    pthread_mutex_unlock(&b->lock);
    return is_shared;
}

static int common(const int32_t *a, int n_a, const int32_t *b, int n_b)
{
    int n = 0, most = n_a < n_b ? n_a : n_b;
    while (n < most && a[n] == b[n]) {
        n++;
    }
    return n;
}

/// Different blocks of cells [n], in the order of their first cell. Shapes: out [most]; returns how
/// many there are, or most + 1 when they are more.
static int blocks_of(const int32_t *cells, int n, int32_t *out, int most)
{
    int n_out = 0, at = 0;
    for (int i = 0; i < n; i++) {
        int32_t now = cells[i] / HSDI_BLOCK_CELLS;
        if (n_out > 0 && out[at] == now) {
            continue; // as the cell before
        }
        for (at = 0; at < n_out && out[at] != now; at++) {
        }
        if (at == n_out) {
            if (n_out == most) {
                return most + 1;
            }
            out[n_out++] = now;
        }
    }
    return n_out;
}

static kept *kept_new(const int32_t *tokens, const int32_t *cells, int n)
{
    size_t count = (size_t)n;
    kept *text = malloc(sizeof *text + 3 * count * sizeof(int32_t));
    if (text) {
        *text = (kept){.n = n, .tokens = (int32_t *)(text + 1)};
        text->cells = text->tokens + count;
        text->blocks = text->cells + count;
        memcpy(text->tokens, tokens, count * sizeof *tokens);
        memcpy(text->cells, cells, count * sizeof *cells);
        text->n_blocks = blocks_of(cells, n, text->blocks, n);
    }
    return text;
}

/// Move what a link leads to to the front.
static void touch(hsdi_blocks *b, kept **link)
{
    kept *text = *link;
    *link = text->next;
    text->next = b->latest;
    b->latest = text;
}

/// The link to a kept text that begins with all of this one; NULL: there is none.
static kept **find_longer(hsdi_blocks *b, const int32_t *tokens, int n)
{
    for (kept **link = &b->latest; *link; link = &(*link)->next) {
        if ((*link)->n >= n && common((*link)->tokens, n, tokens, n) == n) {
            return link;
        }
    }
    return NULL;
}

/// Those that are part of the latest text.
static void forget_shorter(hsdi_blocks *b)
{
    const kept *text = b->latest;
    kept **link = &b->latest->next;
    while (*link) {
        if ((*link)->n <= text->n &&
            common((*link)->tokens, (*link)->n, text->tokens, text->n) == (*link)->n) {
            forget(b, link);
        } else {
            link = &(*link)->next;
        }
    }
}

void hsdi_blocks_keep(hsdi_blocks *b, const int32_t *tokens, const int32_t *cells, int n)
{
    if (!b->config.shares || n < HSDI_SHARED_LEAST) {
        return;
    }
    pthread_mutex_lock(&b->lock);
    kept **longer = find_longer(b, tokens, n);
    kept *text = longer ? NULL : kept_new(tokens, cells, n);
    if (longer) {
        touch(b, longer);
    } else if (text) {
        text->next = b->latest;
        b->latest = text;
        b->n_texts++;
        for (int i = 0; i < text->n_blocks; i++) {
            assert(b->blocks[text->blocks[i]].n_holders > 0);
            b->blocks[text->blocks[i]].n_texts++;
        }
        forget_shorter(b);
        trim(b);
        discard_idle(b);
    }
    pthread_mutex_unlock(&b->lock);
}

/// How much of a beginning to take: a scattered one would need more blocks than its user may hold.
static int dense_part(const int32_t *cells, int n, int n_spare, int32_t *held, int *n_held)
{
    int most = n / HSDI_BLOCK_CELLS + n_spare;
    *n_held = blocks_of(cells, n, held, most);
    while (n > 0 && *n_held > most) {
        n -= n < HSDI_BLOCK_CELLS ? n : HSDI_BLOCK_CELLS;
        most = n / HSDI_BLOCK_CELLS + n_spare;
        *n_held = blocks_of(cells, n, held, most);
    }
    return n;
}

int hsdi_blocks_find(hsdi_blocks *b, const hsdi_blocks_query *q, int32_t *cells, int32_t *held,
                     int *n_held)
{
    int n_found = 0;
    kept **best = NULL;
    pthread_mutex_lock(&b->lock);
    for (kept **link = &b->latest; *link; link = &(*link)->next) {
        int n_same = common((*link)->tokens, (*link)->n, q->tokens, q->n);
        if (n_same > n_found) {
            n_found = n_same;
            best = link;
        }
    }
    n_found = best ? dense_part((*best)->cells, n_found, q->n_spare, held, n_held) : 0;
    if (n_found < q->n_least || n_found < HSDI_SHARED_LEAST) {
        n_found = *n_held = 0;
    } else {
        memcpy(cells, (*best)->cells, (size_t)n_found * sizeof *cells);
        touch(b, best);
        for (int i = 0; i < *n_held; i++) {
            hold(b, held[i]);
        }
        for (int i = q->n_had - 1; i >= 0; i--) {
            drop(b, q->had[i]);
        }
        trim(b);
        discard_idle(b);
    }
    pthread_mutex_unlock(&b->lock);
    return n_found;
}

void hsdi_blocks_count(hsdi_blocks *b, hsdi_blocks_counts *out)
{
    pthread_mutex_lock(&b->lock);
    *out = (hsdi_blocks_counts){.n_blocks = b->config.n_blocks,
                                .n_free = b->n_free,
                                .n_promised = b->n_promised,
                                .n_kept = b->n_kept,
                                .n_idle = b->n_idle,
                                .n_texts = b->n_texts};
    pthread_mutex_unlock(&b->lock);
}
