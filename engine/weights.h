/// The weights of a model on a device, and the graphs built from them.
#ifndef HSDI_ENGINE_WEIGHTS_H
#define HSDI_ENGINE_WEIGHTS_H

#include "devices/device.h"
#include "engine/model.h"

typedef struct hsdi_weights hsdi_weights;

/// Put layers [begin, end) of a model on a device, and with the first layer the embedding, with the
/// last one final norm and LM head. The model must outlive the weights. Graphs on other devices of
/// the same backend may use them too, but for OpenCL.
///
/// layouts : [n_layers] what each layer of the model caches; NULL: keys and values in all of them.
///           A layer of HSDI_LAYOUT_EL takes other operands, so it is decided here.
/// Errors  : as hsdi_el_check; those of hsdi_weight_create.
HSD_NODISCARD hsd_status hsdi_weights_create(const hsdi_model *model, int begin, int end,
                                             const hsdi_layout *layouts, hsdi_device *device,
                                             hsdi_weights **out, hsd_error *err);
void hsdi_weights_destroy(hsdi_weights **weights);
size_t hsdi_weights_bytes(const hsdi_weights *weights);
const hsdi_model *hsdi_weights_model(const hsdi_weights *weights);
int hsdi_weights_begin(const hsdi_weights *weights); ///< first layer that is there
int hsdi_weights_end(const hsdi_weights *weights);   ///< last one plus one
/// [n_layers] of the model; borrowed until the weights are destroyed.
const hsdi_layout *hsdi_weights_layouts(const hsdi_weights *weights);

/// Which part of a model a graph computes.
typedef struct hsdi_graph_range {
    int begin, end;   ///< layers
    bool from_tokens; ///< starts with the embedding; else with hidden rows from the job's `in`
    bool head;        ///< ends with final norm and LM head into `out`; else with hidden rows
    bool fill_only;   ///< no output at all: only the cache is filled
    int n_list;       ///< with the head: lists of so many tokens instead of logits; 0: logits
    bool with_sum;    ///< of the lists, see hsdi_top_width and hsdi_draw_width
    bool drawn;       ///< lists by HSDI_OP_DRAW instead of HSDI_OP_TOP
    int n_rows_max, n_ctx;
} hsdi_graph_range;

/// Compile a range of layers for a device. The first layer of the weights uses layer 0 of the
/// cache. A range without layers is the head alone.
///
/// Errors : HSD_EINVAL; HSD_ENOMEM; HSD_EUNSUPPORTED for lists where the device makes none.
HSD_NODISCARD hsd_status hsdi_weights_compile(const hsdi_weights *weights, hsdi_device *device,
                                              const hsdi_graph_range *range, hsdi_graph **out,
                                              hsd_error *err);

#endif
