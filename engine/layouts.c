/// See layouts.h.
#include "engine/layouts.h"

#include "base/error.h"
#include "engine/el.h"
#include "pipelines/blocks.h"
#include "pipelines/draft.h"
#include "topology/cache_layout.h"

/// Rows of a pass that share a prefix, for the table: the longest adaptive window, and its root.
enum { USUAL_ROWS = 9 };
/// Of a session that names neither, see engine/session.c.
enum { USUAL_WINDOW = 8, USUAL_ROOTS = 8 };

static hsdi_cache_case case_of(const hsdi_model *m, const hsdi_caching *how)
{
    return (hsdi_cache_case){.n_embd = m->n_embd,
                             .n_heads = m->n_head,
                             .n_kv_heads = m->n_kv,
                             .d_head = m->d_head,
                             .positions =
                                 m->n_rot > 0 ? HSDI_POSITIONS_ROTARY : HSDI_POSITIONS_OTHER,
                             .n_rows = USUAL_ROWS,
                             .type = how->type,
                             .gops = how->gops,
                             .read_gbps = how->read_gbps};
}

static int64_t token_bytes(const hsdi_model *m, hsd_cache_type type, hsdi_cache_kind kind)
{
    const hsdi_cache_case layer = case_of(m, &(hsdi_caching){.type = type});
    return hsdi_cache_make(&layer, kind, type).token_bytes;
}

int64_t hsdi_layouts_bytes(const hsdi_model *m, hsd_cache_type type, int n_el)
{
    return n_el * token_bytes(m, type, HSDI_CACHE_EL) +
           (m->n_layers - n_el) * token_bytes(m, type, HSDI_CACHE_KV);
}

int64_t hsdi_layouts_draft_bytes(const hsdi_model *draft, const hsdi_caching *how, int n_ctx)
{
    const hsdi_draft_config config = {.n_ctx = n_ctx, .window = USUAL_WINDOW, .roots = USUAL_ROOTS};
    int n_cells = hsdi_draft_cells_needed(&config);
    int n_el = how->layout == HSD_CACHE_LAYOUT_EL ? draft->n_layers : 0;
    return hsdi_layouts_bytes(draft, how->type, n_el) * HSDI_BLOCK_CELLS *
           hsdi_blocks_needed(n_cells, n_ctx);
}

static bool fits(const hsdi_model *m, const hsdi_caching *how, int n_cells, int n_el)
{
    return how->memory_bytes == 0 ||
           hsdi_layouts_bytes(m, how->type, n_el) <= how->memory_bytes / n_cells;
}

/// The least number of layers that must keep their input; all of them if even that is too little.
static int least_el(const hsdi_model *m, const hsdi_caching *how, int n_cells)
{
    int n = 0;
    while (n < m->n_layers && !fits(m, how, n_cells, n)) {
        n++;
    }
    return n;
}

/// The same with room for the draft, where that is possible.
static int wanted_el(const hsdi_model *m, const hsdi_caching *how, int n_cells)
{
    hsdi_caching beside = *how;
    if (how->memory_bytes > how->beside_bytes) {
        beside.memory_bytes -= how->beside_bytes;
    }
    int n = least_el(m, &beside, n_cells);
    return fits(m, &beside, n_cells, n) ? n : least_el(m, how, n_cells);
}

static hsd_status too_large(const hsdi_model *m, const hsdi_caching *how, int n_ctx,
                            hsdi_cells_of *cells_of, int n_el, hsd_error *err)
{
    double mib = 1024.0 * 1024.0;
    int64_t one = hsdi_layouts_bytes(m, how->type, n_el);
    int most = 0, above = n_ctx;
    while (above - most > 1) { // a longer context never needs fewer cells
        int middle = most + (above - most) / 2;
        *(fits(m, how, cells_of(middle), n_el) ? &most : &above) = middle;
    }
    return hsdi_fail(err, HSD_ENOMEM, "cache_memory",
                     "a context of %d takes %.1f MiB as %s in %s, %.1f are allowed: %d would fit",
                     n_ctx, (double)one * cells_of(n_ctx) / mib, n_el > 0 ? "el" : "kv",
                     hsd_cache_type_name(how->type), (double)how->memory_bytes / mib, most);
}

hsd_status hsdi_layouts_choose(const hsdi_model *m, const hsdi_caching *how, int n_ctx,
                               hsdi_cells_of *cells_of, hsdi_layout *out, int *n_el, hsd_error *err)
{
    int n_cells = cells_of(n_ctx);
    hsd_status exact = hsdi_el_check(m, how->layout == HSD_CACHE_LAYOUT_EL ? err : NULL);
    if (how->layout == HSD_CACHE_LAYOUT_EL && exact != HSD_OK) {
        return exact;
    }
    const hsdi_cache_case layer = case_of(m, how);
    int n = how->layout == HSD_CACHE_LAYOUT_EL ? m->n_layers : 0;
    if (how->layout == HSD_CACHE_LAYOUT_AUTO && exact == HSD_OK) {
        n = hsdi_cache_layout(&layer).kind == HSDI_CACHE_EL ? m->n_layers
                                                            : wanted_el(m, how, n_cells);
    }
    if (!fits(m, how, n_cells, n)) {
        return too_large(m, how, n_ctx, cells_of, n, err);
    }
    for (int i = 0; i < m->n_layers; i++) {
        out[i] = i < m->n_layers - n ? HSDI_LAYOUT_KV : HSDI_LAYOUT_EL;
    }
    *n_el = n;
    return HSD_OK;
}
