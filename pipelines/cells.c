/// A stack of free cells; a lower number is handed out first, so that small texts stay compact.
#include <assert.h>
#include <pipelines/cells.h>
#include <stdlib.h>

hsd_status hsdi_cells_init(hsdi_cells *cells, int n_cells, int n_ctx)
{
    *cells = (hsdi_cells){0};
    if (n_cells < 1 || n_ctx < 1) {
        return HSD_EINVAL;
    }
    cells->free = calloc((size_t)n_cells, sizeof *cells->free);
    cells->trunk = calloc((size_t)n_ctx, sizeof *cells->trunk);
    if (!cells->free || !cells->trunk) {
        hsdi_cells_fini(cells);
        return HSD_ENOMEM;
    }
    cells->n_cells = n_cells;
    cells->n_ctx = n_ctx;
    hsdi_cells_reset(cells);
    return HSD_OK;
}

void hsdi_cells_fini(hsdi_cells *cells)
{
    free(cells->free);
    free(cells->trunk);
    *cells = (hsdi_cells){0};
}

void hsdi_cells_reset(hsdi_cells *cells)
{
    for (int i = 0; i < cells->n_cells; i++) {
        cells->free[i] = cells->n_cells - 1 - i;
    }
    cells->n_free = cells->n_cells;
    cells->n_trunk = 0;
}

int32_t hsdi_cells_take(hsdi_cells *cells)
{
    return cells->n_free > 0 ? cells->free[--cells->n_free] : -1;
}

void hsdi_cells_give(hsdi_cells *cells, int32_t cell)
{
    assert(cell >= 0 && cell < cells->n_cells && cells->n_free < cells->n_cells);
    cells->free[cells->n_free++] = cell;
}

void hsdi_cells_push(hsdi_cells *cells, int32_t cell)
{
    assert(cell >= 0 && cell < cells->n_cells && cells->n_trunk < cells->n_ctx);
    cells->trunk[cells->n_trunk++] = cell;
}

void hsdi_cells_truncate(hsdi_cells *cells, int n)
{
    while (cells->n_trunk > n) {
        hsdi_cells_give(cells, cells->trunk[--cells->n_trunk]);
    }
}
