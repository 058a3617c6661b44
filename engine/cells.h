/// Cells filled without a model's passes, for measurements behind long contexts.
#ifndef HSDI_ENGINE_CELLS_H
#define HSDI_ENGINE_CELLS_H

#include "devices/device.h"
#include "engine/model.h"

/// Store random numbers in -1..1 in the first n_cells cells of some layers of a cache.
///
/// Shapes : layouts [n_layers] of the cache's layers, as it was created.
/// Errors : HSD_ENOMEM; HSD_EDEVICE; HSD_EUNSUPPORTED. Cost: writes the cells once.
HSD_NODISCARD hsd_status hsdi_cells_fill(hsdi_device *device, const hsdi_model *model,
                                         const hsdi_layout *layouts, int n_layers,
                                         hsd_cache_type type, hsdi_cache *cache, int n_cells,
                                         hsd_error *err);

#endif
